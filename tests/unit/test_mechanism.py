"""The correlation of sinks with hallucination: against plain loops, and relations put there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from eah_vllm.evaluation.count.correlation import _of, _ranks, partial_spearman, point_biserial, spearman
from eah_vllm.evaluation.mechanism.claim import kept_captions, measure
from eah_vllm.evaluation.mechanism.sink_counts import Seen
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.scenes.world import make_scene


def test_ranks_by_hand() -> None:
    drawn = np.array([[1.0, 1, 1, 1, 1], [2, 0, 1, 1, 1]])
    found = _ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0]), drawn)
    assert found[0].tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]
    assert found[1, [0, 2, 3, 4]].tolist() == [3.5, 3.5, 1.0, 3.5], "one 2 and four 3 were drawn"


def test_intervals_are_those_of_resamples_one_by_one() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, 40).astype(float)
    y = (x + rng.integers(0, 9, 40)).round()
    drawn = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=2000)

    def ranked(values: list[float]) -> list[float]:
        return [sum(a < b for a in values) + (sum(a == b for a in values) + 1) / 2 for b in values]

    one_by_one = []
    for counts in drawn[:200]:
        a, b = ([value for value, times in zip(side, counts, strict=True) for _ in range(times)] for side in (x, y))
        one_by_one.append(np.corrcoef(ranked(a), ranked(b))[0, 1])
    weights = np.concatenate([np.ones((1, 40)), drawn[:200]])
    found = _of(x, y, weights, _ranks(x, weights), _ranks(y, weights))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(one_by_one, [2.5, 97.5])))


def test_correlations_by_hand() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = spearman(x, np.exp(x))
    assert found is not None
    assert found.value == pytest.approx(1.0)
    # 1 - 6 sum(d^2) / (n (n^2 - 1)) with rank differences 0, 1, 1, 1, 1
    found = spearman(x, np.array([10.0, 30.0, 20.0, 50.0, 40.0]))
    assert found is not None
    assert found.value == pytest.approx(1 - 6 * 4 / (5 * 24))
    # difference of the means over the standard deviation, times sqrt(p q)
    yes = np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    found = point_biserial(x, yes)
    assert found is not None
    assert found.value == pytest.approx((4.0 - 7 / 3) / x.std() * np.sqrt(0.4 * 0.6))


def test_no_spread_no_correlation() -> None:
    same, x = np.ones(9), np.arange(9.0)
    assert spearman(same, x) is None
    assert point_biserial(x, same) is None
    assert partial_spearman(x, x, same) is None


def test_what_a_third_figure_explains_is_not_counted() -> None:
    rng = np.random.default_rng(0)
    objects = rng.integers(1, 6, 300).astype(float)
    x, y = objects + 0.3 * rng.standard_normal(300), objects + 0.3 * rng.standard_normal(300)
    plain, given = spearman(x, y), partial_spearman(x, y, objects)
    assert plain is not None
    assert given is not None
    assert plain.low > 0.8
    assert given.low < 0 < given.high


@pytest.fixture(scope="module")
def task() -> ScenesTask:
    return ScenesTask(60)


def planted(task: ScenesTask, *, alike: bool = False) -> Seen:
    """Every second caption lies. Layer 0: pictures so described have few sinks; 1: no relation; 2: all alike."""
    units = list(dict.fromkeys(question.unit for question in task.questions()))
    counts = np.zeros((1, len(units), 3, 2), dtype=np.int64)
    captions = {}
    for number, unit in enumerate(units):
        present = sorted(make_scene(int(unit)).names)
        absent = "kite" if "kite" not in present else "cup"
        lies = number % 2 == 1
        captions[unit] = f"a {present[0]} and a {absent}" if lies else f"a {present[0]}"
        sinks = 1 + number // 2 % 3  # the same for those that lie and those that do not
        counts[0, number, :, 0] = sinks if lies else sinks + 4, sinks, 5
    return Seen({"0.5": 0.5}, np.full_like(counts, 8) if alike else counts, captions, 8, 30)


def test_a_relation_put_there_is_found_and_no_other(task: ScenesTask) -> None:
    found = measure(task, planted(task))
    by_layer = found["thresholds"][0]["correlation"]["densest head"]
    assert [one and one["verdict"] for one in by_layer["spearman"]] == ["less", "no correlation seen", None]
    assert [one and one["verdict"] for one in by_layer["point_biserial"]] == ["less", "no correlation seen", None]
    assert found["thresholds"][0]["sinks"][2] == [5.0, 0.0]
    assert found["thresholds"][0]["density"]["densest head"][2] == pytest.approx(5 / 8)
    assert found["thresholds"][0]["density"]["mean over heads"][2] == pytest.approx(5 / 16)
    assert found["chairs"] == 50.0
    assert "at 0.5 they hallucinate less in layer 0." in found["told"]


def test_the_same_density_everywhere_is_told(task: ScenesTask) -> None:
    assert "at 0.5 every picture has the same number" in measure(task, planted(task, alike=True))["told"]


def test_captions_of_a_run(tmp_path: Path, task: ScenesTask) -> None:
    questions = [question for question in task.questions() if question.group == "caption"][:2]
    lines: list[Mapping[str, str]] = [
        {"setting": "off", "question": questions[0].id, "text": "a cup"},
        {"setting": "on", "question": questions[1].id, "text": "under EAH"},
        {"setting": "off", "question": "9/caption", "text": "of another scene"},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert kept_captions(path, task) == {questions[0].unit: "a cup"}
