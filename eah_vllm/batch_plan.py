"""Which rows of a step's batch get EAH, and in which layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from eah_vllm import report
from eah_vllm.request_state import RequestState, RequestTable


@dataclass(frozen=True, slots=True)
class PrefillSlice:
    """The whole prompt of one request, as rows `row_start` to `row_start + state.prompt_length` of the batch."""

    state: RequestState
    row_start: int


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
    """Plan a step. Choosing a head needs every prompt row, so a prompt that is not whole in this step is not changed.

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
        if first >= state.prompt_length:
            continue
        state.counted = state.counted or (first == 0 and stop > state.prompt_length)
        if not state.spans:
            state.reason = report.NO_IMAGE
        elif state.reason == report.UNSUPPORTED_ATTENTION:
            continue
        elif first == 0 and stop >= state.prompt_length:
            slices.append(PrefillSlice(state, int(row_starts[idx])))
        else:
            state.reason = state.reason or (report.PREFIX_CACHED if first > 0 else report.PROMPT_SPLIT)
    return BatchPlan(tuple(slices)) if slices else NO_WORK
