"""The soak's check finds what is wrong, and only that."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.soak.check import LOGPROB_TOLERANCE, differences
from tests.soak.client import Answer, Choice

LEVEL = -1.0 - LOGPROB_TOLERANCE
FIRST, SECOND = {"a": -0.1, "b": -3.0}, {"c": -1.0, "d": LEVEL, "e": -4.0}
REPORT = {"applied": True, "reason": None, "layers": [{"layer": 1, "head": 2, "sinks": 3}]}


def answer() -> Answer:
    return Answer([Choice(["a", "c"], [dict(FIRST), dict(SECOND)])], report=copy.deepcopy(REPORT))


def other_head(found: Answer) -> None:
    assert found.report
    found.report["layers"][0]["head"] = 3


def no_report(found: Answer) -> None:
    found.report = None


def logprob(found: Answer) -> None:
    found.choices[0].logprobs[0]["b"] += 2 * LOGPROB_TOLERANCE


def other_candidate(found: Answer) -> None:
    found.choices[0].logprobs[0] = {"a": -0.1, "x": -2.9}


def other_first_token(found: Answer) -> None:
    found.choices[0].tokens[0] = "b"


def unlikely_token(found: Answer) -> None:
    found.choices[0].tokens[1] = "e"


def unknown_token(found: Answer) -> None:
    found.choices[0].tokens[1] = "z"


def short(found: Answer) -> None:
    del found.choices[0].tokens[1]


def empty(found: Answer) -> None:
    found.choices[0] = Choice()


@pytest.mark.parametrize(
    "spoil",
    [other_head, no_report, logprob, other_candidate, other_first_token, unlikely_token, unknown_token, short, empty],
)
def test_a_wrong_answer_is_found(spoil: Callable[[Answer], None]) -> None:
    assert differences(answer(), answer(), with_report=True) == []
    found = answer()
    spoil(found)
    assert differences(found, answer(), with_report=True)


def level_token(found: Answer) -> None:
    found.choices[0].tokens[1] = "d"


def rounding(found: Answer) -> None:
    found.choices[0].logprobs[0]["b"] += LOGPROB_TOLERANCE / 2


def level_candidate(found: Answer) -> None:
    found.choices[0].logprobs[0] = {"a": -0.1, "x": -3.0 + LOGPROB_TOLERANCE / 2}


def given_up(found: Answer) -> None:
    short(found)
    no_report(found)
    found.finished = False


@pytest.mark.parametrize("change", [level_token, rounding, level_candidate, given_up])
def test_rounding_and_an_early_end_are_right(change: Callable[[Answer], None]) -> None:
    found = answer()
    change(found)
    assert differences(found, answer(), with_report=True) == []
