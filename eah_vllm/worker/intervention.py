"""The methods in one worker process: its requests, the step's plan and the reports. Both model runners use it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from eah_vllm.method.base import LayerStep, Method
from eah_vllm.method.registry import METHODS
from eah_vllm.method.spans import image_spans
from eah_vllm.order import order_of
from eah_vllm.report import UNSUPPORTED_ATTENTION
from eah_vllm.worker.batch_plan import NO_WORK, BatchPlan, RequestPart, RequestParts, plan_batch
from eah_vllm.worker.host_copy import on_host
from eah_vllm.worker.request_state import LayerOutcome, RequestState
from eah_vllm.worker.request_table import RequestTable
from eah_vllm.worker.trace import Trace

NOTHING_COLLECTED: Mapping[str, Any] = {"reports": {}, "outcomes": {}, "source_heads": [], "running": 0}


class NewRequest(Protocol):
    """What is read from `vllm.v1.core.sched.output.NewRequestData`."""

    req_id: str
    sampling_params: Any

    @property
    def mm_features(self) -> Sequence[Any]:
        """Multimodal features, each with a modality, a position and an identity."""

    @property
    def prompt_len(self) -> int:
        """Number of prompt tokens."""


class Intervention:
    """Holds the requests of one worker process that ask for a method, the plan of its step, and its reports."""

    def __init__(self, methods: Mapping[str, Method] = METHODS, trace: Trace | None = None) -> None:
        self.methods = methods
        self.unsupported_layers: dict[int, str] = {}
        """Layers of the whole model, in all pipeline stages, whose attention no method can change, and why."""
        self.local_layers: set[int] = set()
        """Decoder layers of this pipeline stage."""
        self.table = RequestTable()
        self.trace = trace
        self._warm = False
        self._plan: BatchPlan | Callable[[], BatchPlan] = NO_WORK

    def add_request(self, new: NewRequest) -> None:
        """Follow a new (or resumed) request if the scheduler says that it asks for a method."""
        order = order_of(new.sampling_params.extra_args) if new.sampling_params is not None else None
        if order is None or not self.local_layers.intersection(order.settings.layers):
            return  # it is plain, or other pipeline stages have its layers and report on it
        images = [feature for feature in new.mm_features if feature.modality in order.modalities]
        positions = [image.mm_position for image in images]
        spans = image_spans((place.offset, place.length, place.is_embed) for place in positions)
        # `identifier` may begin with the name of a LoRA adapter; `mm_hash` is the picture's alone.
        pictures = tuple(image.mm_hash or image.identifier for image in images)
        state = RequestState(new.req_id, order, new.prompt_len, spans, pictures, order.reason)
        kinds = sorted({image.modality for image in images})
        state.modality = ", ".join(kinds) if kinds not in ([], ["image"]) else None
        state.counted_elsewhere = order.settings.layers[0] not in self.local_layers
        refused = [layer for layer in order.settings.layers if layer in self.unsupported_layers]
        if not self.methods[order.method].changes_kv:
            mine = self.local_layers.intersection(order.settings.layers)
            state.left_out = {layer: self.unsupported_layers[layer] for layer in refused if layer in mine}
            refused = refused if len(state.left_out) == len(mine) else []
        if spans and refused:
            state.reason = UNSUPPORTED_ATTENTION
            state.detail = f"layer {refused[0]}: {self.unsupported_layers[refused[0]]}"
        self.table.add(state)

    def plan_batch(
        self,
        req_ids: Sequence[str],
        row_starts: Sequence[int],
        num_computed_tokens: Sequence[int],
        num_scheduled_tokens: Sequence[int],
    ) -> BatchPlan:
        """Plan a step; see `batch_plan.plan_batch` for the arguments."""
        return plan_batch(self.table, req_ids, row_starts, num_computed_tokens, num_scheduled_tokens)

    @property
    def plan(self) -> BatchPlan:
        """The work of the current forward pass."""
        if callable(self._plan):
            self._plan = self._plan()
        return self._plan

    def set_plan(self, plan: BatchPlan) -> None:
        """Set the plan of the coming forward pass; it holds until the next one is set."""
        self._plan = plan

    @contextmanager
    def deferred_plan(self, make_plan: Callable[[], BatchPlan]) -> Iterator[None]:
        """Make the plan when the first layer of the forward pass asks for it, and drop it afterwards."""
        self._plan = make_plan
        try:
            yield
        finally:
            self._plan = NO_WORK

    def warm_up(self, at: LayerStep) -> None:
        """Let the methods compile what they need, so that no request waits for that; it happens only once."""
        if not self._warm:
            self._warm = True
            for method in self.methods.values():
                method.warm_up(at)

    def act(self, at: LayerStep) -> None:
        """Let the methods change the rows of this step's prompts in one layer."""
        for name, prompts in self.plan[at.layer].items():
            numbers = self.methods[name].on_prompts(at, prompts)
            if numbers is not None:
                self._note(prompts, at.layer, numbers)

    def _note(self, prompts: RequestParts, layer: int, numbers: Tensor) -> None:
        """Keep what a layer did to some prompts, for reports and trace."""
        on_their_way, copied = on_host(numbers)
        for part, row in zip(prompts.parts, on_their_way, strict=True):
            if part.state.reason is not None:
                continue  # the method has declined it
            part.state.outcomes[layer] = LayerOutcome(layer, part.state.image_tokens, row, copied)
            if self.trace is not None:
                self._write_trace(self.trace, part, part.state.outcomes[layer])

    def _write_trace(self, trace: Trace, part: RequestPart, outcome: LayerOutcome) -> None:
        done, reason = part.state.explain(outcome)
        if reason is None and self.methods[part.state.order.method].changes_kv:
            trace.write(
                {
                    "request": part.state.req_id,
                    "method": part.state.order.method,
                    "rows": [part.num_cached, part.state.prompt_length],
                    "spans": [[span.start, span.stop] for span in part.state.spans],
                    "reused": False,
                    **done,
                }
            )

    def collect(self, tags: Sequence[str], abandoned: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return reports by tag, and counts since the last call, as plain data that an RPC can carry.

        Only reports that are asked for make this wait for the device; those in `abandoned` are dropped unread.
        """
        self.table.forget(abandoned)
        reports = {tag: done.to_dict() for tag, done in self.table.collect(tags).items()}
        outcomes, source_heads = self.table.take_counts()
        return {
            "reports": reports,
            "outcomes": outcomes,
            "source_heads": [[*head, count] for head, count in source_heads.items()],
            "running": len(self.table),
        }
