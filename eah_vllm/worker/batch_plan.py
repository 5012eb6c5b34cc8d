"""Plans which rows of a step's batch methods change, and in which layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eah_vllm import report
from eah_vllm.method.base import Part, Parts
from eah_vllm.method.registry import METHODS
from eah_vllm.method.rows import NOBODY
from eah_vllm.order import image_free_id
from eah_vllm.worker.request_state import RequestState
from eah_vllm.worker.request_table import RequestTable

RequestPart = Part[RequestState]
RequestParts = Parts[RequestState]
LayerWork = Mapping[str, RequestParts]
"""The prompts of one layer in one step, by method."""
IMAGE_FREE = ""
"""Stands in place of a method's name for image-free passes, of which only the last row's attention output is kept."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The work of one step."""

    layers: Mapping[int, LayerWork] = field(default_factory=dict)
    """What is to be done to prompts, by layer; layers without any work are absent."""
    slot_of_row: Sequence[int] = ()
    """For each row of the step the slot whose values are applied to it (`method/rows.py`); empty for nobody's."""
    new_slots: Sequence[int] = ()
    """Slots that still have the values of an earlier request."""
    row_layers: frozenset[int] = frozenset()
    """Layers in which the values of some slot of the step may be other than none."""


NO_WORK = BatchPlan()


def plan_batch(
    table: RequestTable,
    req_ids: Sequence[str],
    row_starts: Sequence[int],
    num_computed_tokens: Sequence[int],
    num_scheduled_tokens: Sequence[int],
    *,
    graphs: bool = False,
) -> BatchPlan:
    """Plan the work of a step.

    EAH and the inspector need every prompt row. So a prompt that is not whole in this step is not changed, in this step
    or a later one, unless the rest of it lies in the prefix cache, with a recorded head. Other methods need the
    prompt's last row alone.

    The prompt's length decides what is a prompt row and what is a generated one, not the kind of step: a preempted
    request computes generated tokens again together with its prompt.

    Args:
        table: the requests of this worker that ask for a method.
        req_ids: IDs of all requests, in batch order.
        row_starts: first row of each request in the batch.
        num_computed_tokens: tokens of each request that earlier steps, or the prefix cache, computed.
        num_scheduled_tokens: tokens of each request in this step.
        graphs: whether a step with one row of each request may be a CUDA graph, in which Python does not run.
    """
    if not table.unfinished_prompts and not table.with_rows:
        return NO_WORK
    parts: list[RequestPart] = []
    step_rows = sum(int(tokens) for tokens in num_scheduled_tokens)
    for idx, req_id in enumerate(req_ids if table.unfinished_prompts else ()):
        states = table.unfinished_prompts.get(req_id)
        if states is None:
            continue
        first, stop = int(num_computed_tokens[idx]), int(num_computed_tokens[idx]) + int(num_scheduled_tokens[idx])
        if stop >= states[0].prompt_length:
            del table.unfinished_prompts[req_id]
        for state in states:
            if stop > state.prompt_length and not state.outcomes and state.reason is None:
                state.counted = True  # Model Runner V2 forgot it when it was preempted, and counted it then
            if first < state.prompt_length and _is_acted_on(table, state, first, stop, graphs=graphs):
                parts.append(Part(state, int(row_starts[idx]), idx, first))
    layers = _by_layer(parts, step_rows) if parts else {}
    if not table.with_rows:
        return BatchPlan(layers) if parts else NO_WORK
    return _with_slots(table, layers, parts, req_ids, row_starts, num_computed_tokens, num_scheduled_tokens)


def _is_acted_on(table: RequestTable, state: RequestState, first: int, stop: int, *, graphs: bool) -> bool:
    """Whether a step with the rows `first` to `stop - 1` is the one in which a method acts on a prompt.

    It notes the reason where it is not, and no later step can be.
    """
    is_last, method = stop >= state.prompt_length, METHODS[state.order.method]
    if is_last and state.slot is not None and graphs and state.prompt_length - first == 1 and state.reason is None:
        state.decline(report.LAST_ROW_ALONE)
    if state.order.is_image_free:
        if is_last and state.reason is None and state.slot is not None:
            table.image_free[state.slot] = state.req_id
        return is_last and state.reason is None
    if not state.spans:
        state.reason = report.NO_IMAGE
    if state.reason is not None:
        return False
    if not method.needs_whole_prompt:
        filled_by = table.image_free.get(state.slot or NOBODY)
        if is_last and method.needs_image_free_pass and filled_by != image_free_id(state.req_id):
            state.decline(report.NO_IMAGE_FREE_PASS)
            return False
        return is_last
    if is_last and (first == 0 or state.record is not None):
        return True
    state.decline(report.PREFIX_CACHED if first > 0 else report.PROMPT_SPLIT)
    return False


def _by_layer(parts: Sequence[RequestPart], step_rows: int) -> dict[int, LayerWork]:
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
    names = [IMAGE_FREE if part.state.order.is_image_free else part.state.order.method for part in parts]
    for name in dict.fromkeys(names):
        mine = tuple(part for part, of in zip(parts, names, strict=True) if of == name)
        found[name] = Parts(mine, are_everything=sum(part.num_rows for part in mine) == step_rows)
    return found


def _with_slots(
    table: RequestTable,
    layers: Mapping[int, LayerWork],
    parts: Sequence[RequestPart],
    req_ids: Sequence[str],
    row_starts: Sequence[int],
    num_computed_tokens: Sequence[int],
    num_scheduled_tokens: Sequence[int],
) -> BatchPlan:
    slots: list[int] = []
    new: list[int] = []
    row_layers: set[int] = set()
    for idx, req_id in enumerate(req_ids):
        states = table.with_rows.get(req_id)
        if states is None:
            continue
        first, start = int(num_computed_tokens[idx]), int(row_starts[idx])
        last, stop = states[0].prompt_length - 1, first + int(num_scheduled_tokens[idx])
        if stop <= last:
            continue
        slot = states[0].slot or NOBODY
        slots = slots or [NOBODY] * sum(int(tokens) for tokens in num_scheduled_tokens)
        of_rows = slice(start + max(0, last - first), start + stop - first)
        slots[of_rows] = [slot] * (of_rows.stop - of_rows.start)
        row_layers.update(layer for state in states for layer in state.settings.layers)
        if first <= last:
            new.append(slot)
            for state in states:
                state.carry.clear()
    if not slots and not layers:
        return NO_WORK
    return BatchPlan(layers, slots, new, frozenset(row_layers))
