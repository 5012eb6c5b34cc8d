"""Plans which rows of a step's batch get EAH, and in which layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eah_vllm import report
from eah_vllm.method.prompt_batch import PrefillSlice, PromptBatch
from eah_vllm.worker.request_state import RequestState, RequestTable

EAHSlice = PrefillSlice[RequestState]
EAHBatch = PromptBatch[RequestState]


@dataclass(frozen=True, slots=True)
class LayerWork:
    """The EAH work of one layer in one step."""

    whole: EAHBatch
    """Prompts of which every row is in this step."""
    cached: tuple[EAHSlice, ...]
    """Prompts whose first rows lie in the prefix cache."""
    whole_is_everything: bool
    """Whether the step has no row outside `whole`."""


BatchPlan = Mapping[int, LayerWork]
"""The EAH work of one step, by layer; layers without any are absent."""

NO_WORK: BatchPlan = {}


def plan_batch(
    table: RequestTable,
    req_ids: Sequence[str],
    row_starts: Sequence[int],
    num_computed_tokens: Sequence[int],
    num_scheduled_tokens: Sequence[int],
) -> BatchPlan:
    """Plan the EAH work of a step.

    Choosing a head needs every prompt row. So a prompt that is not whole in this step is not changed, in this step or
    a later one, unless the rest of it lies in the prefix cache, with a recorded head.

    Rows past the prompt (generated tokens, also when a preempted request computes them again) are never part of a
    slice: the prompt's length decides what is a prompt row, not the kind of step.

    Args:
        table: the EAH requests of this worker.
        req_ids: IDs of all requests, in batch order.
        row_starts: first row of each request in the batch.
        num_computed_tokens: tokens of each request that earlier steps, or the prefix cache, computed.
        num_scheduled_tokens: tokens of each request in this step.
    """
    if not table.unfinished_prompts:
        return NO_WORK
    slices: list[EAHSlice] = []
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
            slices.append(PrefillSlice(state, int(row_starts[idx]), idx, first))
        else:
            state.decline(report.PREFIX_CACHED if first > 0 else report.PROMPT_SPLIT)
    return _by_layer(slices, sum(int(tokens) for tokens in num_scheduled_tokens)) if slices else NO_WORK


def _by_layer(slices: Sequence[EAHSlice], step_rows: int) -> BatchPlan:
    works: dict[tuple[int, ...], LayerWork] = {}
    plan = {}
    for layer in {layer for prompt in slices for layer in prompt.state.settings.layers}:
        mine = tuple(idx for idx, prompt in enumerate(slices) if layer in prompt.state.settings.layers)
        if mine not in works:  # layers with equal work share one object, so what it keeps on the device is made once
            prompts = [slices[idx] for idx in mine]
            whole = tuple(prompt for prompt in prompts if prompt.num_cached == 0)
            works[mine] = LayerWork(
                PromptBatch(whole),
                tuple(prompt for prompt in prompts if prompt.num_cached > 0),
                sum(prompt.num_rows for prompt in whole) == step_rows,
            )
        plan[layer] = works[mine]
    return plan
