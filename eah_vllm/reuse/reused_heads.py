"""EAH with `prefix_reuse`: a source head is chosen once for each cached image prefix, and used by all who read it."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eah_vllm.method.base import LayerStep, Parts, Prompt
from eah_vllm.method.eah import EAH, surely_broadcast
from eah_vllm.report import PREFIX_CACHED
from eah_vllm.reuse.recorded_heads import RecordedHeads

AttendAfterPrefixes = Callable[[LayerStep, Parts[Prompt], Tensor], None]
"""Overwrites the rows of prompts after their cached prefixes with one head's map for every head.

Its arguments are the layer and step, the prompts, and their choices (`[prompts, 5]`, see `ReusedHeads.on_prompts`).
"""


class ReusedHeads(EAH):
    """EAH whose choices are recorded with a prompt's cached prefix; it stands in the place of `EAH`."""

    def __init__(self, attend_after_prefixes: AttendAfterPrefixes) -> None:
        self.recorded = RecordedHeads()
        self._attend_after_prefixes = attend_after_prefixes

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Do what EAH does, with recorded choices where there are some; `[prompts, 5]`, the last: was it recorded?"""
        rows = self._rows(at, prompts)
        choices = torch.stack(rows)
        whole = [idx for idx, part in enumerate(prompts.parts) if part.num_cached == 0]
        others = [idx for idx, part in enumerate(prompts.parts) if part.num_cached > 0 and part.state.reason is None]
        everything = prompts.are_everything and len(whole) == len(rows)
        at.ordinary(overwritten=everything and surely_broadcast(prompts, choices))
        if whole:
            self.broadcast(at, _some(prompts, whole), _some_rows(choices, rows, whole))
        if others:
            self._attend_after_prefixes(at, _some(prompts, others), _some_rows(choices, rows, others))
        return choices

    def _rows(self, at: LayerStep, prompts: Parts[Prompt]) -> list[Tensor]:
        """Return each prompt's choice, `[5]`; what must be chosen is chosen for all prompts at once, and recorded."""
        new: dict[str | int, int] = {}
        """The prompts that choose, by their records; one prompt may need what another one records."""
        for idx, part in enumerate(prompts.parts):
            record = part.state.record
            if part.num_cached == 0 and self.recorded.get(record, at.layer) is None:
                new.setdefault(idx if record is None else record, idx)
        chosen: dict[int, Tensor] = {}
        if new:
            choices = self.choose(at, _some(prompts, list(new.values())))
            chosen = dict(zip(new.values(), F.pad(choices, (0, 1)).unbind(), strict=True))
            for idx, row in zip(new.values(), F.pad(choices, (0, 1), value=1).unbind(), strict=True):
                self.recorded.put(prompts.parts[idx].state.record, at.layer, row)
        return [self._row(at, prompts, idx, chosen) for idx in range(len(prompts.parts))]

    def _row(self, at: LayerStep, prompts: Parts[Prompt], idx: int, chosen: dict[int, Tensor]) -> Tensor:
        state = prompts.parts[idx].state
        row = chosen[idx] if idx in chosen else self.recorded.get(state.record, at.layer)
        if row is None:
            state.reason = PREFIX_CACHED
            row = torch.zeros(5, dtype=torch.int64, device=at.query.device)
        return row


def _some(prompts: Parts[Prompt], indices: Sequence[int]) -> Parts[Prompt]:
    """Return these prompts alone; layers with the same ones share what is made of them."""
    if len(indices) == len(prompts.parts):
        return prompts
    name = f"prompts {indices}"
    some: Parts[Prompt] = prompts.memo.setdefault(name, Parts(tuple(prompts.parts[idx] for idx in indices)))
    return some


def _some_rows(choices: Tensor, rows: Sequence[Tensor], indices: Sequence[int]) -> Tensor:
    # An index on the host would have to be brought to the device.
    return choices if len(indices) == len(rows) else torch.stack([rows[idx] for idx in indices])
