"""What checking is worth: P(yes) against the truth, the threshold, the curve of sooner ends, and random removal."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import ask_all
from eah_vllm.evaluation.ask.controls import ask_curve, curve_settings
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import DRAWS, make_setting
from eah_vllm.evaluation.checked.objects import CheckedObject, checked_captions, judged_objects
from eah_vllm.evaluation.checked.removal import chosen_threshold, drawn_objects, removal_facts, thresholds
from eah_vllm.evaluation.checked.result import verify_controls, verify_facts, verify_verdict
from eah_vllm.evaluation.checked.roc import area, area_interval, calibration, calibration_error, roc, wilson
from eah_vllm.evaluation.command import run
from eah_vllm.evaluation.count.sooner import against_sooner, interpolated
from eah_vllm.evaluation.count.summary import summarize
from eah_vllm.evaluation.task import Answer
from tests.unit.evaluation_case import AWAY, RIGHT, WRONG, WordTask, saying, store
from tests.unit.verified_case import remove, verified

OFF, VERIFY = make_setting(None), parse_setting("verify,action=rewrite")
SURE = {"cat": 0.9, "dog": 0.8, "car": 0.1}


def objects(*pairs: tuple[float, bool]) -> list[CheckedObject]:
    return [CheckedObject(f"u{number % 7}", f"o{number}", p, there) for number, (p, there) in enumerate(pairs)]


def by_pairs(some: list[CheckedObject]) -> float:
    """The definition: of all pairs of a true and an invented object, the share with more P(yes) for the true one."""
    pairs = list(product([o.p_yes for o in some if o.there], [o.p_yes for o in some if not o.there]))
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def test_the_area_is_the_share_of_pairs_that_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    some = objects(*((float(round(p, 1)), bool(t)) for p, t in zip(rng.random(60), rng.random(60) < 0.7, strict=True)))
    found = area_interval(some)
    assert found is not None
    assert found.value == pytest.approx(by_pairs(some))
    assert found.low < found.value < found.high
    p_yes, there = np.array([o.p_yes for o in some]), np.array([o.there for o in some])
    counts = rng.integers(0, 3, size=(4, len(some))).astype(float)
    repeated = [[o for o, n in zip(some, row, strict=True) for _ in range(int(n))] for row in counts]
    assert area(p_yes, there, counts) == pytest.approx([by_pairs(one) for one in repeated])
    assert area_interval(objects((0.1, True), (0.2, True))) is None
    assert area_interval([]) is None


def test_the_curve_ends_where_nothing_and_everything_is_denied() -> None:
    points = roc(objects((0.1, False), (0.2, True), (0.2, False), (0.9, True)))
    assert [(one["threshold"], one["invented_denied"], one["true_denied"]) for one in points] == [
        (0.1, 0.0, 0.0), (0.2, 0.5, 0.0), (0.9, 1.0, 0.5), (1.0, 1.0, 1.0),
    ]  # fmt: skip


def test_calibration_by_tenths() -> None:
    rows = calibration(objects((0.0, False), (0.05, True), (0.55, True), (0.95, True), (1.0, True)))
    assert [(row["from"], row["objects"], row["p_yes"], row["there"]) for row in rows] == [
        (0.0, 2, 0.025, 0.5), (0.5, 1, 0.55, 1.0), (0.9, 2, 0.975, 1.0),
    ]  # fmt: skip
    assert calibration_error(rows) == pytest.approx((2 * 0.475 + 0.45 + 2 * 0.025) / 5)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)  # the figures of the textbooks
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def answered(task: WordTask, folder: Path, *, wrong_every: int = 2) -> AnswerFile:
    """Every second picture's caption names a car that is not there; the check denies it."""
    answers = AnswerFile(folder, task.identity())
    say = saying(lambda number: RIGHT if number % wrong_every else WRONG)
    store(answers, task, OFF, say)
    for question in task.questions():
        if question.group == "caption":
            answers.add(VERIFY.name, question.id, verified(say(question), SURE))
    return answers


def test_objects_are_judged_by_the_words_that_the_scorer_reads(tmp_path: Path) -> None:
    task = WordTask(4)
    captions = checked_captions(task, answered(task, tmp_path).by_setting[VERIFY.name])
    assert [(one.original, one.answer.text, one.denied) for one in captions[:2]] == [
        (WRONG, RIGHT, {"car"}), (RIGHT, RIGHT, frozenset()),
    ]  # fmt: skip
    judged = judged_objects(task, captions)
    assert Counter((one.name, one.p_yes, one.there) for one in judged) == {
        ("cat", 0.9, True): 4, ("dog", 0.8, True): 4, ("car", 0.1, False): 2,
    }  # fmt: skip


def test_a_failed_check_and_an_object_that_was_not_asked_about_are_left_out() -> None:
    task = WordTask(2)
    unasked = verified(WRONG, SURE)
    assert unasked.verify is not None
    unasked.verify["mentions"][2] |= {"p_yes": None, "verdict": "unasked"}
    given = {
        "u0/caption": Answer(WRONG, "stop", None, None, None, {"error": "away"}),
        "u1/caption": unasked,
        "u1/random/no": Answer("No"),
    }
    captions = checked_captions(task, given)
    assert [(one.unit, one.objects) for one in captions] == [("u1", ["cat", "dog"])]
    assert [one.name for one in judged_objects(task, captions)] == ["cat", "dog"]


def test_a_draw_takes_as_many_of_the_caption_s_objects_evenly_and_always_the_same() -> None:
    task = WordTask(600)
    given = {f"u{n}/caption": verified(WRONG, SURE) for n in range(600)}
    captions = checked_captions(task, given)
    drawn = [drawn_objects(one, draw) for draw in ("0", "1") for one in captions]
    assert {len(names) for names in drawn} == {1}
    for part in (drawn[:600], drawn[600:]):
        counts = Counter(name for names in part for name in names)
        assert all(150 < counts[name] < 250 for name in ("cat", "dog", "car")), "about a third of 600 each"
    assert sum(a == b for a, b in zip(drawn[:600], drawn[600:], strict=True)) < 300, "draws differ"
    assert drawn == [drawn_objects(one, draw) for draw in ("0", "1") for one in captions]
    facts = removal_facts(task, captions, ["0", "1"], remove)
    assert (facts["removed_by_verify"], facts["removed"], facts["captions_changed"]) == (600, [600, 600], 600)
    assert (facts["gone_by_verify"], facts["gone"]) == (600, [600, 600])
    assert facts["as_many_in_every_caption"]
    assert (facts["invented_share_by_verify"], facts["invented_share_expected"]) == (1.0, 0.3333)
    assert facts["invented_share"] == pytest.approx([1 / 3] * 2, abs=0.06)
    assert facts["place"] == pytest.approx([0.5] * 2, abs=0.05)
    assert facts["same_text"] == 1.0


def test_what_the_server_removed_otherwise_than_the_code_is_said() -> None:
    task = WordTask(2)
    given = {f"u{n}/caption": verified(WRONG, SURE) for n in range(2)}
    given["u1/caption"] = Answer("a cat", "stop", 3, 0.1, None, given["u1/caption"].verify)
    assert removal_facts(task, checked_captions(task, given), ["0"], remove)["same_text"] == 0.5


def test_thresholds_are_tried_on_the_original_texts(tmp_path: Path) -> None:
    task = WordTask(10)
    answers = answered(task, tmp_path)
    captions = checked_captions(task, answers.by_setting[VERIFY.name])
    rows = thresholds(task, captions, answers.by_setting["off"], remove)
    by_threshold = {row["threshold"]: row for row in rows}
    assert (by_threshold[0.0]["chairs"], by_threshold[0.0]["recall"]) == (50.0, 100.0)
    assert (by_threshold[0.1]["chairs"], by_threshold[0.15]["chairs"]) == (50.0, 0.0), "below it, not at it"
    assert (by_threshold[0.85]["recall"], by_threshold[0.85]["recall_lost"]) == (50.0, 50.0)
    assert chosen_threshold(rows) == 0.15
    assert chosen_threshold([{"threshold": 0.5, "chairs": 1.0, "recall_lost": 2.0}]) is None


def test_a_curve_is_read_between_its_points_and_stays_as_it_is_beyond_them() -> None:
    places = np.array([[90.0, 90.0], [80.0, 70.0], [60.0, 80.0]])
    values = np.array([[40.0, 40.0], [30.0, 10.0], [10.0, 20.0]])
    assert interpolated(np.array([85.0, 75.0]), places, values).tolist() == [35.0, 15.0]
    assert interpolated(np.array([99.0, 1.0]), places, values).tolist() == [40.0, 10.0]


def test_a_setting_on_the_curve_is_no_better_than_it_and_one_below_it_is() -> None:
    task = WordTask(200)
    rng = np.random.default_rng(5)
    length, bad = rng.random(200), rng.random(200) < 0.5

    def said(share: float, struck: bool = False) -> dict[str, Answer]:
        """A caption has the car (if `bad`) and then the dog, and ends sooner in a `share` of pictures."""
        texts = ["a cat" if cut < share else f"a cat{' and a car' if b and not struck else ''} and a dog"
                 for cut, b in zip(length, bad, strict=True)]  # fmt: skip
        return {f"u{n}/caption": Answer(text) for n, text in enumerate(texts)}

    curve = [task.tallies(said(share))["caption"] for share in (0.0, 0.2, 0.5, 0.9)]
    on_it = against_sooner(task.tallies(said(0.35))["caption"], curve)
    assert on_it is not None
    low, high = on_it["chairs_at_equal_recall"]["ci95"]
    assert low <= 0 <= high
    below = against_sooner(task.tallies(said(0.2, struck=True))["caption"], curve)
    assert below is not None
    found = below["chairs_at_equal_recall"]
    off_there = 100 * (bad & (length >= 0.2)).mean()
    assert (found["curve"], found["difference"]) == pytest.approx((off_there, -off_there), abs=1e-3)
    assert found["ci95"][1] < -20
    assert (found["outside"], below["recall_at_equal_chairs"]["difference"] > 20) == (0.0, True)
    assert against_sooner(curve[1], curve[:1]) is None


def test_controls_of_a_verified_setting_are_asked_or_made_and_never_written(tmp_path: Path) -> None:
    task = WordTask(20)
    answers = answered(task, tmp_path)
    for setting in curve_settings():
        store(answers, task, setting, saying(lambda _: "a cat"))
    lines = answers.path.read_bytes()
    found = verify_controls(task, [OFF, VERIFY], answers, remove)
    found += ask_curve(AWAY_WITH_END, task, [OFF, VERIFY], answers)
    assert [one.name for one in found] == [
        "verify,action=rewrite,removal=random", *(f"off,end_bias={b}" for b in ("0.5", "1", "2", "3", "4", "6", "8")),
    ]  # fmt: skip
    assert answers.path.read_bytes() == lines
    settings = [OFF, VERIFY, *found]
    rows = summarize(task, settings, answers)
    by_name = {row["setting"]: row for row in rows}
    checked, drawn = by_name[VERIFY.name], by_name[f"{VERIFY.name},removal=random"]
    assert (checked["chairs"], checked["recall"], checked["mended"], checked["spoiled"]) == (0.0, 100.0, 10, 0)
    assert drawn["draws"]["number"] == DRAWS
    assert 0 < drawn["chairs"] < 50
    assert drawn["recall"] < 100
    facts = verify_facts(task, settings, answers, remove, choose=True)
    assert facts is not None
    json.dumps(facts)
    (fact,) = facts["settings"]
    assert (fact["objects_true"], fact["objects_invented"], fact["asked"], fact["denied"]) == (40, 10, 50, 10)
    assert (fact["tokens"], fact["cached_tokens"]) == (2000, 1600)
    assert (fact["auroc"]["value"], fact["chosen_threshold"]) == (1.0, 0.15)
    assert facts["curve"][1] == {"end_bias": 0.5, "chairs": 0.0, "recall": 50.0, "words": 2.0}
    told = verify_verdict(rows, facts)
    assert told.startswith("verify,action=rewrite changes CHAIRs by -50.0 points [")
    assert "as many objects removed at random change CHAIRs by" in told
    assert "at the same recall it is -50.0 points [" in told


AWAY_WITH_END = type(AWAY)(AWAY.base_url, AWAY.model, patience=0.0, timeout=1.0, end_token_id=2)


def test_captions_alone_are_asked_for_under_verify(tmp_path: Path) -> None:
    """Nothing listens, so that a question without an answer would be an error."""
    task = WordTask(20)
    answers = answered(task, tmp_path)
    ask_all(AWAY, task, [OFF, VERIFY], answers)
    assert len(answers.by_setting[VERIFY.name]) == 20


def test_a_run_with_verify_writes_its_facts_and_a_page_with_them(tmp_path: Path) -> None:
    task = WordTask(20)
    answered(task, tmp_path / "first").close()
    kept = (tmp_path / "first" / "answers.jsonl").read_bytes()
    out = tmp_path / "run"
    out.mkdir()
    (out / "answers.jsonl").write_bytes(kept)
    told = run(AWAY, task, [OFF, VERIFY], out, with_controls=False, remove=remove)
    assert told.startswith("verify,action=rewrite changes CHAIRs by -50.0 points")
    facts = json.loads((out / "verify.json").read_text())
    assert "thresholds" not in facts["settings"][0], "no threshold is chosen on pictures that results are told of"
    page = (out / "report.html").read_text()
    assert "<h2>Checked captions</h2>" in page
    assert "AUROC 1.000" in page
    assert (out / "roc.png").stat().st_size > 5000
    run(AWAY, task, [OFF, VERIFY], out, with_controls=False, remove=remove, choose_threshold=True)
    assert "Threshold chosen on these pictures: 0.15" in (out / "report.html").read_text()
