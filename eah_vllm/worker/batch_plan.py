"""Plans which rows of a step's batch a method changes, and in which layers."""

from collections.abc import Mapping, Sequence

from eah_vllm import report
from eah_vllm.method.base import Part, Parts
from eah_vllm.worker.request_state import RequestState
from eah_vllm.worker.request_table import RequestTable

RequestPart = Part[RequestState]
RequestParts = Parts[RequestState]
LayerWork = Mapping[str, RequestParts]
"""The prompts of one layer in one step, by method."""
BatchPlan = Mapping[int, LayerWork]
"""The work of one step, by layer; layers without any are absent."""

NO_WORK: BatchPlan = {}


def plan_batch(
    table: RequestTable,
    req_ids: Sequence[str],
    row_starts: Sequence[int],
    num_computed_tokens: Sequence[int],
    num_scheduled_tokens: Sequence[int],
) -> BatchPlan:
    """Plan the work of a step.

    Choosing a head needs every prompt row. So a prompt that is not whole in this step is not changed, in this step or
    a later one, unless the rest of it lies in the prefix cache, with a recorded head.

    Rows past the prompt (generated tokens, also when a preempted request computes them again) are in no
    part: the prompt's length decides what is a prompt row, not the kind of step.

    Args:
        table: the requests of this worker that ask for a method.
        req_ids: IDs of all requests, in batch order.
        row_starts: first row of each request in the batch.
        num_computed_tokens: tokens of each request that earlier steps, or the prefix cache, computed.
        num_scheduled_tokens: tokens of each request in this step.
    """
    if not table.unfinished_prompts:
        return NO_WORK
    parts: list[RequestPart] = []
    for idx, req_id in enumerate(req_ids):
        state = table.unfinished_prompts.get(req_id)
        if state is None:
            continue
        first, stop = int(num_computed_tokens[idx]), int(num_computed_tokens[idx]) + int(num_scheduled_tokens[idx])
        if stop >= state.prompt_length:
            del table.unfinished_prompts[req_id]
        if stop > state.prompt_length and not state.outcomes and state.reason is None:
            state.counted = True  # Model Runner V2 forgot it when it was preempted, and counted it then
        if first >= state.prompt_length:
            continue
        if not state.spans:
            state.reason = report.NO_IMAGE
        elif state.reason is not None:
            continue
        elif stop >= state.prompt_length and (first == 0 or state.record is not None):
            parts.append(Part(state, int(row_starts[idx]), idx, first))
        else:
            state.decline(report.PREFIX_CACHED if first > 0 else report.PROMPT_SPLIT)
    return _by_layer(parts, sum(int(tokens) for tokens in num_scheduled_tokens)) if parts else NO_WORK


def _by_layer(parts: Sequence[RequestPart], step_rows: int) -> BatchPlan:
    works: dict[tuple[int, ...], LayerWork] = {}
    plan = {}
    for layer in {layer for part in parts for layer in part.state.settings.layers}:
        mine = tuple(idx for idx, part in enumerate(parts) if layer in part.state.settings.layers)
        if mine not in works:  # layers with equal work share it, so what a method makes of it once serves them all
            works[mine] = _by_method([parts[idx] for idx in mine], step_rows)
        plan[layer] = works[mine]
    return plan


def _by_method(parts: Sequence[RequestPart], step_rows: int) -> LayerWork:
    found = {}
    for method in dict.fromkeys(part.state.order.method for part in parts):
        mine = tuple(part for part in parts if part.state.order.method == method)
        found[method] = Parts(mine, are_everything=sum(part.num_rows for part in mine) == step_rows)
    return found
