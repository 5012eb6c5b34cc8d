"""Which rows of a step's batch get EAH, and in which layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from eah_vllm import report
from eah_vllm.request_state import RequestState, RequestTable


@dataclass(frozen=True, slots=True)
class PrefillSlice:
    """The rest of one request's prompt after `num_cached` tokens, as `num_rows` rows of the batch from `row_start`."""

    state: RequestState
    row_start: int
    batch_idx: int
    num_cached: int = 0

    @property
    def num_rows(self) -> int:
        """Prompt rows in this step."""
        return self.state.prompt_length - self.num_cached


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The EAH work of one step."""

    slices: tuple[PrefillSlice, ...]

    def for_layer(self, layer: int) -> list[PrefillSlice]:
        """The slices that a layer acts on, in batch order (the same on every rank)."""
        return [piece for piece in self.slices if layer in piece.state.settings.layers]


NO_WORK = BatchPlan(())


def plan_batch(
    table: RequestTable,
    req_ids: Sequence[str],
    row_starts: Sequence[int],
    num_computed_tokens: Sequence[int],
    num_scheduled_tokens: Sequence[int],
) -> BatchPlan:
    """Plan a step.

    Choosing a head needs every prompt row. So a prompt that is not whole in this step is not changed, unless the rest
    of it lies in the prefix cache, with a recorded head.

    Rows past the prompt (generated tokens, also when a preempted request computes them again) are never part of a
    slice: the prompt's length decides, not whether the step is a prefill.

    Args:
        table: the EAH requests.
        req_ids: requests in batch order.
        row_starts: first row of each request in the batch.
        num_computed_tokens: tokens of each request that earlier steps, or the prefix cache, computed.
        num_scheduled_tokens: tokens of each request in this step.
    """
    if not len(table):
        return NO_WORK
    slices = []
    for idx, req_id in enumerate(req_ids):
        state = table.get(req_id)
        if state is None:
            continue
        first, stop = int(num_computed_tokens[idx]), int(num_computed_tokens[idx]) + int(num_scheduled_tokens[idx])
        if stop > state.prompt_length and not state.outcomes and state.reason is None:
            state.counted = True  # Model Runner V2 forgot it when it was preempted, and counted it then
        if first >= state.prompt_length:
            continue
        if not state.spans:
            state.reason = report.NO_IMAGE
        elif state.reason == report.UNSUPPORTED_ATTENTION:
            continue
        elif stop >= state.prompt_length and (first == 0 or state.record is not None):
            slices.append(PrefillSlice(state, int(row_starts[idx]), idx, first))
        else:
            state.reason = state.reason or (report.PREFIX_CACHED if first > 0 else report.PROMPT_SPLIT)
    # A prompt may read blocks that another one writes, and record the head of, in this very step.
    return BatchPlan(tuple(sorted(slices, key=lambda piece: piece.num_cached > 0))) if slices else NO_WORK
