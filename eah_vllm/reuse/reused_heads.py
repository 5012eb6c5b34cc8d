"""EAH with `prefix_reuse`: a source head is chosen once for each cached image prefix, and used by all who read it."""

from collections.abc import Callable

import torch
from torch import Tensor

from eah_vllm.method.base import LayerStep, Part, Parts, Prompt
from eah_vllm.method.eah import EAH, surely_broadcast
from eah_vllm.report import PREFIX_CACHED
from eah_vllm.reuse.recorded_heads import RecordedHeads

AttendAfterPrefix = Callable[[LayerStep, Part[Prompt], Tensor], Tensor]
"""Computes the rows of a prompt after its cached prefix with one head's map for every head: `[rows, heads, dim]`.

Its arguments are the layer and step, the prompt, and the source head (int64 scalar).
"""


class ReusedHeads(EAH):
    """EAH whose choices are recorded with a prompt's cached prefix; it stands in the place of `EAH`."""

    def __init__(self, attend_after_prefix: AttendAfterPrefix) -> None:
        self.recorded = RecordedHeads()
        self._attend_after_prefix = attend_after_prefix

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Do what EAH does, with recorded choices where there are some; `[prompts, 5]`, the last: was it recorded?"""
        # In turn: one prompt may need what another one records.
        choices = [self._choose(at, Parts((part,))) for part in prompts.parts]
        whole = prompts.are_everything and not any(part.num_cached for part in prompts.parts)
        at.ordinary(overwritten=whole and surely_broadcast(prompts, torch.stack(choices)))
        for part, choice in zip(prompts.parts, choices, strict=True):
            if part.num_cached == 0:
                self.broadcast(at, Parts((part,)), choice[None])
            elif part.state.reason is None:
                changed = self._attend_after_prefix(at, part, choice[0])
                at.output[part.rows] = torch.where(choice[3].bool(), changed, at.output[part.rows])
        return torch.stack(choices)

    def _choose(self, at: LayerStep, one: Parts[Prompt]) -> Tensor:
        (part,) = one.parts
        recorded = self.recorded.get(part.state.record, at.layer)
        if recorded is not None:
            return torch.cat((recorded, torch.ones_like(recorded[:1])))
        if part.num_cached > 0:
            part.state.reason = PREFIX_CACHED
            return torch.zeros(5, dtype=torch.int64, device=at.query.device)
        (choice,) = self.choose(at, one)
        self.recorded.put(part.state.record, at.layer, choice)
        return torch.cat((choice, torch.zeros_like(choice[:1])))
