"""What a worker remembers about a request between steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from eah_vllm import report
from eah_vllm.method.base import LayerReport
from eah_vllm.method.registry import METHODS
from eah_vllm.method.spans import ImageSpan
from eah_vllm.order import Order
from eah_vllm.report import Report
from eah_vllm.settings import MethodSettings


@dataclass(slots=True)
class LayerOutcome:
    """What one layer did to a request."""

    layer: int
    image_tokens: int
    numbers: Tensor
    """Host memory with a row of what `Method.on_prompts` returned; the copy from the device may still be under way."""
    copied: torch.Event | None = None
    """Event that has passed once `numbers` may be read; None when there is nothing to wait for."""

    @property
    def is_known(self) -> bool:
        """Whether `read` can return without waiting for the device."""
        return self.copied is None or self.copied.query()

    def read(self) -> Sequence[float]:
        """Return `numbers` as a list; wait for the device if necessary."""
        if self.copied is not None:
            self.copied.synchronize()
        read: list[float] = self.numbers.tolist()
        return read


@dataclass(slots=True)
class RequestState:
    """What a worker remembers about a request that asks for a method; there is one for each method of the request."""

    req_id: str
    order: Order
    prompt_length: int
    spans: tuple[ImageSpan, ...]
    pictures: tuple[str, ...] = ()
    """Identities of the prompt's pictures, in prompt order; `head: "random"` draws by them."""
    reason: str | None = None
    """The reason why no layer can be changed, once that is known."""
    detail: str | None = None
    """What else is to be said of the reason."""
    modality: str | None = None
    """Modalities of its image tokens, where these are not pictures alone."""
    outcomes: dict[int, LayerOutcome] = field(default_factory=dict)
    carry: dict[str, Any] = field(default_factory=dict)
    """What a method takes from one layer to a deeper one."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Layers of this stage that a method which only reads leaves out, and why."""
    counted_elsewhere: bool = False
    """Whether another pipeline stage, which has the request's first layer, counts it; here only heads are counted."""
    counted: bool = False
    """Whether the counters hold the request or soon will; also true if it was counted before a preemption."""
    record: str | None = field(init=False)
    """Name of the cached prefix whose recorded heads it uses, or records; None without `prefix_reuse`."""

    def __post_init__(self) -> None:
        self.record = self.order.record

    @property
    def settings(self) -> MethodSettings:
        """The method's settings."""
        return self.order.settings

    @property
    def slot(self) -> int | None:
        """The request's place in the buffers for generated rows."""
        return self.order.slot

    @property
    def is_reported(self) -> bool:
        """Whether somebody has asked for a report."""
        return self.order.tag is not None

    @property
    def image_tokens(self) -> int:
        """Number of image tokens in the prompt."""
        return sum(len(span) for span in self.spans)

    @property
    def is_known(self) -> bool:
        """Whether `report` can return without waiting for the device."""
        return all(outcome.is_known for outcome in self.outcomes.values())

    def decline(self, reason: str) -> None:
        """Change this request no more; what it computed before a preemption is computed anew, without the method."""
        self.reason = reason
        self.outcomes.clear()

    def report(self) -> Report:
        """Report what was done so far; wait for the device if necessary."""
        left_out = tuple({"layer": layer, "reason": why} for layer, why in self.left_out.items())
        if not self.outcomes:
            why_not = self.reason or report.NOT_RUN
            return Report(False, why_not, left_out, self.detail, self.modality, self.order.image_free_tokens)
        read = [self.explain(self.outcomes[layer]) for layer in sorted(self.outcomes)]
        failed = [reason for _, reason in read if reason is not None]
        layers = tuple(sorted((*(layer for layer, _ in read), *left_out), key=lambda layer: int(layer["layer"])))
        applied, reason = len(failed) < len(read), failed[0] if failed else None
        return Report(applied, reason, layers, None, self.modality, self.order.image_free_tokens)

    def explain(self, outcome: LayerOutcome) -> tuple[LayerReport, str | None]:
        """Return what was done in one layer, and why it was not changed (None: it was); wait for the device."""
        method = METHODS[self.order.method]
        return method.explain(self.settings, outcome.layer, outcome.image_tokens, outcome.read())
