"""The plan of a step: whose rows, in which layers, and nothing at all where no prompt is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NoReturn

import pytest

from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import EAHOptions
from eah_vllm.order import Order
from eah_vllm.settings import EAHSettings, ModelShape, resolve
from eah_vllm.worker.batch_plan import NO_WORK, BatchPlan, plan_batch
from eah_vllm.worker.request_state import RequestState
from eah_vllm.worker.request_table import RequestTable

SETTINGS = resolve(EAHOptions(layer=[1, 2]), EAHOptions(), ModelShape(4, 8))


def followed(*prompts: tuple[str, int], settings: EAHSettings = SETTINGS) -> RequestTable:
    table = RequestTable()
    for req_id, length in prompts:
        table.add(RequestState(req_id, Order("eah", settings), length, (ImageSpan(1, length - 1),)))
    return table


def plan(table: RequestTable, *rows: tuple[str, int, int]) -> BatchPlan:
    """The plan of a step of (request, tokens computed earlier, tokens in this step)."""
    starts = [sum(tokens for _, _, tokens in rows[:idx]) for idx in range(len(rows))]
    req_ids, computed, scheduled = zip(*rows, strict=True)
    return plan_batch(table, req_ids, starts, computed, scheduled)


class _Untouchable(Sequence[str]):
    """Fails a test that reads it."""

    def __getitem__(self, idx: object) -> NoReturn:
        pytest.fail("a request of the batch was looked at")

    def __len__(self) -> NoReturn:
        pytest.fail("the batch was looked at")


def test_steps_that_compute_no_prompt_look_at_no_request() -> None:
    table = followed(("a", 10), ("b", 12))
    with pytest.raises(pytest.fail.Exception):
        plan_batch(table, _Untouchable(), [], [], [])
    assert plan(table, ("a", 0, 10), ("plain", 3, 1), ("b", 0, 12))
    assert plan_batch(table, _Untouchable(), [], [], []) is NO_WORK


def test_every_layer_that_was_asked_for_and_no_other_has_the_prompts_rows() -> None:
    planned = plan(followed(("a", 10), ("b", 12)), ("a", 0, 10), ("plain", 3, 1), ("b", 0, 12))
    assert sorted(planned.layers) == [1, 2]
    assert [piece.rows for piece in planned.layers[1]["eah"].parts] == [slice(0, 10), slice(11, 23)]


def test_layers_of_equal_work_share_it() -> None:
    """What a batch keeps for the device is made once per step, not once per layer."""
    table = followed(("a", 10))
    table.add(RequestState("b", Order("eah", dataclasses.replace(SETTINGS, layers=(2, 3))), 12, (ImageSpan(1, 5),)))
    planned = plan(table, ("a", 0, 10), ("b", 0, 12))
    assert {layer: len(work["eah"].parts) for layer, work in planned.layers.items()} == {1: 1, 2: 2, 3: 1}
    assert plan(followed(("a", 10)), ("a", 0, 10)).layers[1] is not planned.layers[1]
    both = plan(followed(("a", 10), ("b", 12)), ("a", 0, 10), ("b", 0, 12))
    assert both.layers[1] is both.layers[2]


@pytest.mark.parametrize(
    ("rows", "everything"),
    [
        ([("a", 0, 10)], True),
        ([("a", 0, 10), ("b", 0, 12)], True),
        ([("a", 0, 10), ("plain", 7, 1)], False),
        ([("a", 0, 11)], False),  # a row past the prompt: preempted, and computed again
    ],
)
def test_a_step_of_whole_prompts_alone_is_known(rows: list[tuple[str, int, int]], everything: bool) -> None:
    assert plan(followed(("a", 10), ("b", 12)), *rows).layers[1]["eah"].are_everything is everything


def test_a_step_is_not_all_one_layers_when_another_layer_has_some_of_its_prompts() -> None:
    table = followed(("a", 10))
    table.add(RequestState("b", Order("eah", dataclasses.replace(SETTINGS, layers=(2,))), 12, (ImageSpan(1, 5),)))
    planned = plan(table, ("a", 0, 10), ("b", 0, 12))
    assert (planned.layers[1]["eah"].are_everything, planned.layers[2]["eah"].are_everything) == (False, True)


def test_a_preempted_prompt_is_planned_again() -> None:
    table = followed(("a", 10))
    assert plan(table, ("a", 0, 10))
    assert plan(table, ("a", 10, 1)) is NO_WORK
    table.resume("a")
    assert plan(table, ("a", 0, 13)).layers[1]["eah"].parts[0].num_rows == 10
    table.resume("nobody")
    assert not table.unfinished_prompts


def test_a_prompt_in_two_steps_is_reported_and_not_planned_in_either() -> None:
    table = followed(("a", 10))
    assert plan(table, ("a", 0, 6)) is NO_WORK
    assert table.unfinished_prompts["a"][0].report().reason == "prompt_split"
    assert plan(table, ("a", 6, 4)) is NO_WORK
    assert not table.unfinished_prompts


def test_a_prompt_in_two_steps_is_not_planned_in_the_second_because_of_a_record() -> None:
    """A record lets the rest of a cached prompt be planned alone; the first part of this one was computed plainly."""
    table = followed(("a", 10))
    table.unfinished_prompts["a"][0].record = "of its image"
    assert plan(table, ("a", 0, 6)) is NO_WORK
    assert plan(table, ("a", 6, 4)) is NO_WORK


def test_a_prompt_in_two_steps_stays_unchanged_after_a_preemption() -> None:
    """Its first tokens were answered without EAH, and its report has said so."""
    table = followed(("a", 10))
    plan(table, ("a", 0, 6))
    plan(table, ("a", 6, 4))
    table.resume("a")
    assert plan(table, ("a", 0, 12)) is NO_WORK
    assert table.take_counts()[0] == {"eah": {"prompt_split": 1}}


def test_what_the_scheduler_declines_is_not_planned() -> None:
    table = followed(("a", 10))
    table.unfinished_prompts["a"][0].decline("prompt_split")
    assert plan(table, ("a", 0, 10)) is NO_WORK
