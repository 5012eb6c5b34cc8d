"""The methods in one worker process: its requests, the step's plan and the reports. Both model runners use it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from eah_vllm.method.base import LayerStep, Method
from eah_vllm.method.last_row import last_rows
from eah_vllm.method.registry import METHODS
from eah_vllm.method.rows import RowBuffers
from eah_vllm.method.spans import image_spans
from eah_vllm.order import Order, orders_of
from eah_vllm.report import LAYERS_APART, UNSUPPORTED_ATTENTION
from eah_vllm.worker.batch_plan import IMAGE_FREE, NO_WORK, BatchPlan, RequestPart, RequestParts, plan_batch
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
        self.rows: RowBuffers | None = None
        """Values for generated rows; None on a server without a method that acts on them."""
        self.graphs = False
        """Whether a step with one row of each request may be a CUDA graph, in which Python does not run."""
        self.trace = trace
        self._warm = False
        self._plan: BatchPlan | Callable[[], BatchPlan] = NO_WORK

    def add_request(self, new: NewRequest) -> None:
        """Follow a new (or resumed) request if the scheduler says that it asks for a method."""
        orders = orders_of(new.sampling_params.extra_args) if new.sampling_params is not None else ()
        # Where it has none of its layers, other pipeline stages have them and report on it.
        states = [self._state(new, order) for order in orders if self.local_layers.intersection(order.settings.layers)]
        if states:
            self.table.add(*states)

    def _state(self, new: NewRequest, order: Order) -> RequestState:
        images = [feature for feature in new.mm_features if feature.modality in order.modalities]
        positions = [image.mm_position for image in images]
        spans = image_spans((place.offset, place.length, place.is_embed) for place in positions)
        # `identifier` may begin with the name of a LoRA adapter; `mm_hash` is the picture's alone.
        pictures = tuple(image.mm_hash or image.identifier for image in images)
        state = RequestState(new.req_id, order, new.prompt_len, spans, pictures, order.reason)
        kinds = sorted({image.modality for image in images})
        state.modality = ", ".join(kinds) if kinds not in ([], ["image"]) else None
        state.counted_elsewhere = order.settings.layers[0] not in self.local_layers
        state.counted = order.is_image_free
        method, mine = self.methods[order.method], self.local_layers.intersection(order.settings.layers)
        refused = [layer for layer in order.settings.layers if layer in self.unsupported_layers]
        if not method.changes_kv:
            state.left_out = {layer: self.unsupported_layers[layer] for layer in refused if layer in mine}
            refused = refused if len(state.left_out) == len(mine) else []
        if spans and refused:
            state.reason = UNSUPPORTED_ATTENTION
            state.detail = f"layer {refused[0]}: {self.unsupported_layers[refused[0]]}"
        elif spans and method.carries_over_layers and not mine.issuperset(order.settings.layers):
            state.reason = LAYERS_APART
        return state

    def plan_batch(
        self,
        req_ids: Sequence[str],
        row_starts: Sequence[int],
        num_computed_tokens: Sequence[int],
        num_scheduled_tokens: Sequence[int],
    ) -> BatchPlan:
        """Plan a step; see `batch_plan.plan_batch` for the arguments."""
        steps = row_starts, num_computed_tokens, num_scheduled_tokens
        return plan_batch(self.table, req_ids, *steps, graphs=self.graphs)

    @property
    def plan(self) -> BatchPlan:
        """The work of the current forward pass."""
        if callable(self._plan):
            self.set_plan(self._plan())
        assert isinstance(self._plan, BatchPlan)
        return self._plan

    def set_plan(self, plan: BatchPlan) -> None:
        """Set the plan of the coming forward pass; it holds until the next one is set."""
        self._plan = plan
        if self.rows is not None:
            self.rows.begin_step(plan.slot_of_row, plan.new_slots)

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
        for name, prompts in self.plan.layers[at.layer].items():
            if name == IMAGE_FREE:
                self._keep_image_free(at, prompts)
                continue
            numbers = self.methods[name].on_prompts(at, prompts)
            if numbers is not None:
                self._note(prompts, at.layer, numbers)

    def apply_rows(self, layer: int, output: Tensor) -> None:
        """Do to the attention output of a layer what the requests' slots say.

        On GPUs it is done in each step, because a step without such requests may be the one that a graph is made of.
        """
        if self.rows is not None and (layer in self.plan.row_layers or output.device.type != "cpu"):
            self.rows.act_on(layer, output)

    def _keep_image_free(self, at: LayerStep, prompts: RequestParts) -> None:
        assert at.rows is not None
        at.ordinary()
        rows, slots = last_rows(prompts, at.output.device)
        at.rows.keep_image_free(at.layer, slots, at.output.index_select(0, rows))

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
