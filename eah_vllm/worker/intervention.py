"""EAH in one worker process: its requests, the step's plan and the reports. Both model runners use it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from eah_vllm.method.eah import on_host
from eah_vllm.method.prompt_batch import runs_triton
from eah_vllm.method.spans import image_spans
from eah_vllm.options import REASON_FIELD, RECORD_FIELD, EAHOptions, from_extra_args
from eah_vllm.report import UNSUPPORTED_ATTENTION
from eah_vllm.reuse.recorded_heads import RecordedHeads
from eah_vllm.settings import ModelShape, resolve
from eah_vllm.worker.batch_plan import NO_WORK, BatchPlan, EAHBatch, EAHSlice, plan_batch
from eah_vllm.worker.request_state import LayerOutcome, RequestState, RequestTable
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
    """Holds the EAH requests of one worker process, the plan of its current step, and its reports."""

    def __init__(self, defaults: EAHOptions, shape: ModelShape, trace: Trace | None = None) -> None:
        self.defaults = defaults
        self.shape = shape
        self.unsupported_layers: set[int] = set()
        """Layers of the whole model, in all pipeline stages, whose attention EAH cannot change."""
        self.local_layers: set[int] = set()
        """Decoder layers of this pipeline stage."""
        self.table = RequestTable()
        self.recorded = RecordedHeads()
        self.trace = trace
        self._kernels_compiled = False
        self._plan: BatchPlan | Callable[[], BatchPlan] = NO_WORK

    def add_request(self, new: NewRequest) -> None:
        """Follow a new (or resumed) request if it asks for EAH.

        Raises:
            OptionError: the options are bad; admission refuses such requests before the engine sees them.
        """
        asked = from_extra_args(new.sampling_params.extra_args) if new.sampling_params is not None else None
        if asked is None:
            return
        options, tag = asked
        settings = resolve(options, self.defaults, self.shape, tag)
        if not self.local_layers.intersection(settings.layers):
            return  # other pipeline stages have the request's layers and report on it
        images = [feature for feature in new.mm_features if feature.modality == "image"]
        positions = [image.mm_position for image in images]
        spans = image_spans((place.offset, place.length, place.is_embed) for place in positions)
        # `identifier` may begin with the name of a LoRA adapter; `mm_hash` is the picture's alone.
        pictures = tuple(image.mm_hash or image.identifier for image in images)
        record = new.sampling_params.extra_args.get(RECORD_FIELD)
        state = RequestState(new.req_id, settings, new.prompt_len, spans, pictures, record)
        state.reason = new.sampling_params.extra_args.get(REASON_FIELD)
        state.counted_elsewhere = settings.layers[0] not in self.local_layers
        if spans and self.unsupported_layers.intersection(settings.layers):
            state.reason = UNSUPPORTED_ATTENTION
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
        """The EAH work of the current forward pass."""
        if callable(self._plan):
            self._plan = self._plan()
        return self._plan

    def kernels_wanted(self, device: torch.device) -> bool:
        """Whether the GPU kernels must still be compiled, so that no request waits for that; it is true only once."""
        wanted = runs_triton(device) and not self._kernels_compiled
        self._kernels_compiled = True
        return wanted

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

    def note(self, prompts: EAHBatch, layer: int, choices: Tensor, *, reused: bool) -> None:
        """Keep what a layer did to some prompts, for reports and trace; `choices` is what `choose_heads` returned."""
        numbers, copied = on_host(choices)
        for prompt, row in zip(prompts.slices, numbers, strict=True):
            prompt.state.outcomes[layer] = LayerOutcome(layer, prompt.state.image_tokens, row, copied, reused)
            if self.trace is not None:
                self._write_trace(self.trace, prompt, prompt.state.outcomes[layer])

    def _write_trace(self, trace: Trace, prompt: EAHSlice, outcome: LayerOutcome) -> None:
        head, sinks, _, broadcast = outcome.read()
        if broadcast:
            trace.write(
                {
                    "request": prompt.state.req_id,
                    "layer": outcome.layer,
                    "rows": [prompt.num_cached, prompt.state.prompt_length],
                    "spans": [[span.start, span.stop] for span in prompt.state.spans],
                    "head": head,
                    "sinks": sinks,
                    "reused": outcome.reused,
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
            "source_heads": [[layer, head, count] for (layer, head), count in source_heads.items()],
            "running": len(self.table),
        }
