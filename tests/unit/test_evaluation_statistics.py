"""Counts, metrics, intervals and the verdict of `eah-vllm eval`, against sums done by hand or one draw at a time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import make_setting
from eah_vllm.evaluation.count.chair_counts import ReadCaption, tally_captions
from eah_vllm.evaluation.count.statistics import changes, difference, interval, mean_of, measure, spread
from eah_vllm.evaluation.count.verdict import verdict
from eah_vllm.evaluation.count.yes_no import says_no, tally_yes_no
from eah_vllm.evaluation.task import Tally


def figures(tally: Tally) -> dict[str, float | None]:
    return {metric.name: measure(tally, metric) for metric in tally.metrics}


def captions(wrong: list[int], right: list[int]) -> Tally:
    """Captions with so many absent and present objects each, of ten that are there."""
    present = frozenset(f"p{i}" for i in range(10))
    return tally_captions(
        {
            str(idx): ReadCaption([f"x{i}" for i in range(absent)] + [f"p{i}" for i in range(found)], present, 7)
            for idx, (absent, found) in enumerate(zip(wrong, right, strict=True))
        }
    )


def test_chair_by_hand() -> None:
    read = {
        "a": ReadCaption(["cat", "cat", "dog"], frozenset({"cat"}), 6),  # dog is not there; cat counts twice
        "b": ReadCaption(["car"], frozenset({"car", "bus", "tree", "sign"}), 4),
        "c": ReadCaption([], frozenset({"cup"}), 2),
    }
    found = figures(tally_captions(read))
    assert found == pytest.approx(
        {
            "chairs": 100 / 3,
            "chairi": 100 / 4,
            "recall": 100 * 2 / 6,
            "coverage": 100 * (1 + 0.25 + 0) / 3,
            "words": 4.0,
        }
    )


def test_nothing_to_divide_by_is_no_figure() -> None:
    found = figures(tally_captions({"a": ReadCaption([], frozenset(), 1)}))
    assert found["chairi"] is None
    assert found["recall"] is None
    assert figures(tally_yes_no([]))["f1"] is None
    assert interval(tally_yes_no([]), tally_yes_no([]).metrics[0]) is None


@pytest.mark.parametrize(
    ("answer", "no"),
    [
        ("No", True), ("no.", True), ("No, there is not.", True), ("There is not a cat", True), ("Yes", False),
        ("Yes. But no dog", False), ("Nothing", False), ("NO", False), ("Yes, no doubt", True), ("", False),
    ],
)  # fmt: skip
def test_the_official_answer_rule(answer: str, no: bool) -> None:
    """Word for word as POPE's `evaluate.py`, with its oddities: capital NO and an empty answer are a yes."""
    assert says_no(answer) is no


def test_pope_by_hand() -> None:
    tally = tally_yes_no(
        [("i", True, "Yes"), ("i", False, "Yes"), ("j", False, "No"), ("j", True, "No"), ("j", True, "Yes")]
    )
    assert figures(tally) == pytest.approx(
        {"accuracy": 60.0, "precision": 200 / 3, "recall": 200 / 3, "f1": 200 / 3, "yes_ratio": 60.0}
    )
    assert tally.wrong.tolist() == [1, 1]


def test_the_paired_interval_is_that_of_drawing_pictures_with_both_their_captions() -> None:
    rng = random.Random(1)
    n = 60
    before = captions([rng.choice([0, 0, 1, 2]) for _ in range(n)], [rng.randint(2, 6) for _ in range(n)])
    after = captions([rng.choice([0, 0, 0, 1]) for _ in range(n)], [rng.randint(2, 6) for _ in range(n)])
    metric = next(metric for metric in before.metrics if metric.name == "chairi")
    found = difference(before, after, metric)
    assert found is not None

    def chairi(tally: Tally, rows: list[int]) -> float:
        absent, mentions = tally.columns.index("absent"), tally.columns.index("mentions")
        return 100 * sum(tally.counts[r][absent] for r in rows) / sum(tally.counts[r][mentions] for r in rows)

    drawn = []
    for _ in range(3000):
        rows = rng.choices(range(n), k=n)
        drawn.append(chairi(after, rows) - chairi(before, rows))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.value == pytest.approx(chairi(after, list(range(n))) - chairi(before, list(range(n))))
    assert found.low == pytest.approx(low, abs=0.8)
    assert found.high == pytest.approx(high, abs=0.8)


def test_the_interval_of_a_mean_over_draws_is_that_of_drawing_pictures_with_all_their_draws() -> None:
    rng = random.Random(2)
    n = 60

    def some(shares: list[int]) -> Tally:
        return captions([rng.choice(shares) for _ in range(n)], [rng.randint(2, 6) for _ in range(n)])

    before, draws = some([0, 0, 1, 2]), [some([0, 0, 0, 1]) for _ in range(5)]
    metric, mean = before.metrics[0], mean_of(draws)
    assert metric.name == "chairs"
    found = difference(before, mean, metric)
    assert found is not None
    values = [measure(draw, metric) for draw in draws]
    assert measure(mean, metric) == pytest.approx(np.mean(values))

    drawn = []
    for _ in range(3000):
        rows = rng.choices(range(n), k=n)
        by_draw = [100 * sum(draw.wrong[row] for row in rows) / n for draw in draws]
        drawn.append(np.mean(by_draw) - 100 * sum(before.wrong[row] for row in rows) / n)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.8)
    assert found.high == pytest.approx(high, abs=0.8)
    one = difference(before, draws[0], metric)
    assert one is not None
    assert found.high - found.low < one.high - one.low, "five draws say more than one"


def test_a_picture_that_one_draw_lacks_is_left_out() -> None:
    assert mean_of([captions([1, 0, 2], [3, 3, 3]), captions([1, 0], [3, 3])]).units == ("0", "1")


def test_pairing_matters() -> None:
    """One caption in fifty changes: the paired interval is narrow, although the figure itself is uncertain."""
    before = captions([1, 0] * 25, [3] * 50)
    after = captions([0, 0] + [1, 0] * 24, [3] * 50)
    metric = before.metrics[0]
    paired, alone = difference(before, after, metric), interval(after, metric)
    assert paired is not None
    assert alone is not None
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    assert paired.holds_zero
    assert changes(before, after) == (1, 0)
    assert changes(after, before) == (0, 1)


def test_equal_runs_differ_by_nothing_and_units_of_one_side_are_left_out() -> None:
    before, after = captions([1, 0, 2, 0], [3, 3, 3, 3]), captions([1, 0], [3, 3])
    same = difference(before, after, before.metrics[0])
    assert same is not None
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert changes(before, after) == (0, 0)


def test_the_spread_is_over_five_splits() -> None:
    tally = captions([1] * 5 + [0] * 5, [3] * 10)
    assert spread(tally, tally.metrics[0]) == (50.0, 0.0)  # dealt in turn: one of each in every split
    assert spread(captions([1], [1]), tally.metrics[0]) is None


def row(setting: str, chairs: float, change: float, low: float, high: float) -> dict[str, Any]:
    told = "no difference seen" if low <= 0 <= high else "lower, better"
    return {
        "setting": setting,
        "chairs": chairs,
        "difference": {"chairs": {"value": change, "ci95": [low, high], "verdict": told}},
    }


def test_the_verdict_names_a_control_that_does_as_well_first() -> None:
    settings = [make_setting(None), *map(parse_setting, ("layer=1", "layer=1,head=random", "layer=1,head=sparsest"))]
    settings.append(make_setting(None, end_bias=1.0))
    off, on = row("off", 40, 0, 0, 0), row("layer=1", 30, -10, -14, -6)
    worse = [row(setting.name, 38, -2, -5, 1) for setting in settings[2:]]
    assert verdict([off, on, *worse], settings).startswith(
        "EAH (layer=1) changes CHAIRs by -10.0 points [-14.0, -6.0]; no"
    )
    level = [worse[0], worse[1], row("off,end_bias=1", 29, -11, -15, -7)]
    assert verdict([off, on, *level], settings).startswith("A control does as well: off,end_bias=1. EAH")
    nothing = row("layer=1", 39, -1, -4, 2)
    assert "No difference seen" in verdict([off, nothing, *worse], settings)
    assert "Not every control was run" in verdict([off, on, worse[0]], settings[:3])


@pytest.mark.parametrize(("low", "does"), [(-0.2, True), (0.1, False)])
def test_the_curve_of_captions_that_end_sooner_is_a_control(low: float, does: bool) -> None:
    settings = [make_setting(None), *map(parse_setting, ("layer=1", "layer=1,head=random", "layer=1,head=sparsest"))]
    settings.append(make_setting(None, end_bias=-0.5))
    worse = [row(setting.name, 38, -2, -5, 1) for setting in settings[2:]]
    on = row("layer=1", 30, -10, -14, -6) | {
        "against_sooner": {"recall_at_equal_chairs": {"difference": 0.6, "ci95": [low, 1.3]}}
    }
    told = verdict([row("off", 40, 0, 0, 0), on, *worse], settings)
    named = "captions that end sooner (at equal CHAIRs the recall of EAH less theirs is +0.6 points [-0.2, +1.3])"
    assert told.startswith(f"A control does as well: {named}.") == does
    assert ("no control does as well" in told) != does


def test_more_f1_is_better() -> None:
    def f1(setting: str, value: float, change: float) -> dict[str, Any]:
        told = {"value": change, "ci95": [change - 1, change + 1], "verdict": "higher, better"}
        return {"setting": setting, "f1": value, "difference": {"f1": told}}

    settings = [make_setting(None), *map(parse_setting, ("layer=1", "layer=2", "layer=2,head=random"))]
    rows = [f1("off", 80, 0), f1("layer=1", 78, -2), f1("layer=2", 85, 5), f1("head=random,layer=2", 81, 1)]
    assert verdict(rows, settings, "f1").startswith("EAH (layer=2) changes F1 by +5.0 points [+4.0, +6.0]; no control")
    rows[3] = f1("head=random,layer=2", 86, 6)
    assert verdict(rows, settings, "f1").startswith("A control does as well: head=random,layer=2.")
