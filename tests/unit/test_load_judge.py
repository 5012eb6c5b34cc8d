"""The load tests' judge: a server that is fast and wrong must not pass. Recorded answers, no server."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.scenes.vocabulary import NAMES
from eah_vllm.scenes.world import split_scenes
from load_tests.judge import judge
from load_tests.plan import CAPTION, Ask, fields, make_plan
from load_tests.pool import Pool, Reference
from load_tests.records import FAILED, FINISHED, GAVE_UP, REFUSED, Record, read_lines, write_lines
from load_tests.result import Result
from load_tests.scenario import Scenario, ScenarioError, Traffic, read, shipped
from load_tests.target import Target, TargetError

REPORT = {"applied": True, "reason": None, "layers": [{"layer": 1, "head": 2, "sinks": 9}]}
DISABLED = {"applied": False, "reason": "disabled", "layers": []}
REQUESTS = 24


def _pool() -> Pool:
    """Three scenes; without EAH the first caption names an object that is not there."""
    scenes = split_scenes("test", 3)
    references = {}
    for idx, scene in enumerate(scenes):
        first = scene.objects[0]
        right = f" The image shows a {first.colour} {first.name} {first.position}."
        absent = next(name for name in NAMES if name not in scene.names)
        references[idx, CAPTION, True] = Reference(right, REPORT, 1.0)
        plain = f"{right} There is also a red {absent}." if idx == 0 else right.replace("The image", "This picture")
        references[idx, CAPTION, False] = Reference(plain, None, 1.0)
    return Pool(scenes, references)


def _scenario() -> Scenario:
    return shipped()["half"]


def _plan() -> list[Ask]:
    return make_plan(Traffic(mix="half", users=4, requests=REQUESTS, seconds=10, images=3))


def _right(pool: Pool, plan: list[Ask]) -> list[Record]:
    said = [pool.reference(ask) for ask in plan]
    return [Record(i, FINISHED, latency=0.1, tokens=9, text=one.text, report=one.report) for i, one in enumerate(said)]


def _passes(records: list[Record], pool: Pool, applied: float | None = REQUESTS // 2) -> tuple[bool, set[str]]:
    """The verdict by the bounds of `half.yaml` on what the judge finds, and which are crossed."""
    verdict = judge(_plan(), records, pool, applied)
    timed = {"left_over": 0.0, "goodput_share": 1.0, "e2el_p99_ms": 100.0, "ttft_p99_ms": 50.0}
    result = Result(_scenario(), verdict.figures | timed, verdict, [], {}, [], [], records)
    return result.passed, {row["figure"] for row in result.thresholds if not row["holds"]}


def test_right_answers_pass() -> None:
    pool, plan = _pool(), _plan()
    records = _right(pool, plan)
    assert _passes(records, pool) == (True, set())
    figures = judge(plan, records, pool, REQUESTS // 2).figures
    assert (figures["chairs_on"], figures["applied_share"], figures["changed_by_eah"]) == (0, 1, 1)
    assert round(figures["chairs_off"] or 0) == 33, "the made-up object was not seen: nothing is scored here"


def _checked_pool() -> Pool:
    """The first caption's made-up object is denied; all captions are confirmed otherwise."""
    pool = _pool()
    for idx, scene in enumerate(pool.scenes):
        plain, name = pool.references[idx, CAPTION, False], scene.objects[0].name
        text = plain.text.partition(" There")[0]
        mentions = [_mention(plain.text, name, 0.9)]
        absent = plain.text.removesuffix(".").rpartition("red ")[2]
        if text != plain.text:
            mentions.append(_mention(plain.text, absent, 0.1))
        denied = [one["object"] for one in mentions if one["verdict"] == "denied"]
        report = {"checked": True, "reason": None, "error": None, "denied": denied, "asked": len(mentions)}
        pool.verified[idx, False] = dataclasses.replace(plain, text=text, verify=report | {"mentions": mentions})
    return pool


def _mention(text: str, name: str, p_yes: float) -> dict[str, Any]:
    start, verdict = text.index(name), "denied" if p_yes < 0.5 else "confirmed"
    place = {"text": name, "start": start, "end": start + len(name), "object": name}
    return place | {"p_yes": p_yes, "verdict": verdict}


CHECKED_PLAN = [Ask(idx % 3, CAPTION, False, stream=idx % 2 == 0, verify=True) for idx in range(12)]


def _checked(pool: Pool) -> list[Record]:
    said = [pool.reference(ask) for ask in CHECKED_PLAN]
    return [
        Record(i, FINISHED, tokens=9, text=one.text, verify=copy.deepcopy(one.verify)) for i, one in enumerate(said)
    ]


def test_right_checks_pass_and_only_rewritten_captions_lose_what_is_denied() -> None:
    pool = _checked_pool()
    verdict = judge(CHECKED_PLAN, _checked(pool), pool)
    assert verdict.wrong == []
    figures = verdict.figures
    assert (figures["verified_finished"], figures["unchecked"]) == (12, 0)
    assert (round(figures["chairs_off"] or 0), figures["chairs_verify"]) == (33, 0)
    assert round(3 * (figures["changed_by_verify"] or 0)) == 1


@pytest.mark.parametrize("spoil", ["verdict", "p_yes", "denied", "error", "gone", "unasked for", "text", "span"])
def test_a_check_that_load_has_changed_is_wrong(spoil: str) -> None:
    pool = _checked_pool()
    records, plan = _checked(pool), list(CHECKED_PLAN)
    report = records[0].verify
    assert report is not None
    if spoil == "verdict":
        report["mentions"][0]["verdict"] = "denied"
    elif spoil == "p_yes":
        report["mentions"][0]["p_yes"] -= 0.1
    elif spoil == "span":
        report["mentions"][0]["end"] += 1
    elif spoil == "denied":
        report["denied"] = []
    elif spoil == "error":
        report |= {"error": "the engine is away", "checked": False}
    elif spoil == "gone":
        records[0].verify = None
    elif spoil == "unasked for":
        plan[0] = dataclasses.replace(plan[0], verify=False)
    else:
        records[3].text = pool.references[0, CAPTION, False].text
    wrong = judge(plan, records, pool).wrong
    assert len(wrong) == 1, wrong
    assert wrong[0].startswith(f"request {3 if spoil == 'text' else 0} (caption of scene ")


def test_a_server_whose_eah_is_off_fails() -> None:
    """`EAH_DISABLE=1`: it says so alone and under load, so no answer is unlike the one alone."""
    pool = _pool()
    for idx in range(3):
        plain = pool.references[idx, CAPTION, False]
        pool.references[idx, CAPTION, True] = dataclasses.replace(plain, report=DISABLED)
    crossed = _passes(_right(pool, _plan()), pool, applied=0)[1]
    assert {"applied_share", "changed_by_eah"} <= crossed
    assert "wrong_answers" not in crossed


def test_a_server_that_ignores_the_field_fails() -> None:
    """Plain vLLM: no report, and the plain caption."""
    pool, plan = _pool(), _plan()
    records = _right(pool, plan)
    for record in records:
        record.text, record.report = pool.references[plan[record.ask].scene, CAPTION, False].text, None
    assert {"applied_share", "wrong_answers"} <= _passes(records, pool, applied=0)[1]


def test_a_server_that_reports_and_does_nothing_fails() -> None:
    pool = _pool()
    for idx in range(3):
        plain = pool.references[idx, CAPTION, False]
        pool.references[idx, CAPTION, True] = dataclasses.replace(plain, report=REPORT)
    assert _passes(_right(pool, _plan()), pool) == (False, {"changed_by_eah"})


def test_captions_that_are_fluent_and_wrong_fail() -> None:
    """Alone and under load alike: only CHAIR can tell."""
    pool = _pool()
    for (idx, kind, eah), one in list(pool.references.items()):
        absent = next(name for name in NAMES if name not in pool.scenes[idx].names)
        text = f"{one.text} Next to it, a blue {absent} can be seen."
        pool.references[idx, kind, eah] = dataclasses.replace(one, text=text)
    assert _passes(_right(pool, _plan()), pool) == (False, {"chairs_off", "chairs_on"})


@pytest.mark.parametrize("at", [0, 1], ids=["off", "on"])
def test_one_wrong_answer_fails(at: int) -> None:
    pool = _pool()
    records = _right(pool, _plan())
    records[at].text = f"Well. {records[at].text}"
    assert _passes(records, pool) == (False, {"wrong_answers"})


def test_one_wrong_report_fails() -> None:
    pool = _pool()
    records = _right(pool, _plan())
    records[1].report = REPORT | {"layers": [{"layer": 1, "head": 3, "sinks": 9}]}
    assert _passes(records, pool) == (False, {"wrong_answers"})


def test_one_report_that_is_missing_or_uninvited_fails() -> None:
    pool = _pool()
    records = _right(pool, _plan())
    records[1].report = None
    assert "applied_share" in _passes(records, pool)[1]
    records = _right(pool, _plan())
    records[0].report = REPORT
    assert _passes(records, pool) == (False, {"wrong_answers"})


def test_other_scenes_answers_are_all_wrong() -> None:
    pool, plan = _pool(), _plan()
    figures = judge(plan, _right(pool, plan), pool.mixed_up(), REQUESTS // 2).figures
    assert figures["wrong_answers"] == REQUESTS


@pytest.mark.parametrize(("counted", "apart"), [(12, 0), (11, 1), (13, 1)])
def test_the_servers_own_count_must_agree(counted: int, apart: int) -> None:
    pool, plan = _pool(), _plan()
    records = _right(pool, plan)
    assert judge(plan, records, pool, counted).figures["miscounted"] == apart
    for record in records:
        record.report = None  # as vLLM's client, which keeps none
    figures = judge(plan, records, pool, counted).figures
    assert (figures["miscounted"], figures["applied_share"]) == (apart, counted / 12)


def test_a_request_that_was_left_may_be_counted_or_not() -> None:
    pool, plan = _pool(), _plan()
    records = _right(pool, plan)
    for idx in (1, 3):
        records[idx].outcome, records[idx].text, records[idx].report = GAVE_UP, records[idx].text[:9], None
    for counted, apart in ((9, 1), (10, 0), (12, 0), (13, 1)):
        assert judge(plan, records, pool, counted).figures["miscounted"] == apart
    records[1].text = "A picture"
    assert judge(plan, records, pool, 12).figures["wrong_answers"] == 1


def test_refusals_and_failures_are_told_apart() -> None:
    pool, plan = _pool(), _plan()
    records = _right(pool, plan)
    records[0] = Record(0, REFUSED, error="503, Retry-After: 1")
    records[2] = Record(2, FAILED, error="HTTP 500: oh")
    verdict = judge(plan, records, pool, REQUESTS // 2)
    assert (verdict.figures["refused"], verdict.figures["failures"]) == (1, 1)
    assert verdict.failures == {"HTTP 500: oh": 1}
    assert _passes(records, pool)[1] == {"refused", "failures"}


def test_what_was_not_measured_holds_no_bound() -> None:
    scenario, records, pool = shipped()["soak"], _right(_pool(), _plan()), _pool()
    verdict = judge(_plan(), records, pool, 12)
    result = Result(scenario, verdict.figures | {"memory_growth_percent": None}, verdict, [], {}, [], [], records)
    held = {row["figure"]: row["holds"] for row in result.thresholds}
    assert not held["memory_growth_percent"]
    assert "chairs_on" in held
    other = dataclasses.replace(result, builtin=False)
    assert "chairs_on" not in {row["figure"] for row in other.thresholds}
    json.dumps(result.to_dict())


@pytest.mark.parametrize(("others", "holds"), [(0.1, False), (1.3, None), (None, False)])
def test_times_are_judged_only_where_others_leave_the_machine_alone(others: float | None, holds: bool | None) -> None:
    """Where that is not known, too; what is no time is always judged."""
    pool = _pool()
    verdict = judge(_plan(), _right(pool, _plan()), pool, 12)
    slow = verdict.figures | {"goodput_share": 0.1, "left_over": 1.0}
    result = Result(_scenario(), slow, verdict, [], {"cores_busy_with_others": others}, [], [], [])
    held = {row["figure"]: row["holds"] for row in result.thresholds}
    assert held["goodput_share"] is holds
    assert held["left_over"] is False


def test_every_shipped_scenario_bounds_what_matters() -> None:
    scenarios = shipped()
    assert {"stock", "off", "on", "half", "repeat", "sweep", "soak", "storm", "overload"} <= scenarios.keys()
    for scenario in scenarios.values():
        wanted = {"failures", "wrong_answers", "left_over"}
        wanted |= {"applied_share", "miscounted"} if scenario.traffic.mix != "off" else set()
        assert wanted <= scenario.thresholds.keys(), scenario.name
        assert scenario.thresholds["failures"].at_most == scenario.thresholds["wrong_answers"].at_most == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("tool: vllm-bench", "tool: guess"),
        ("users: 16", "userz: 16"),
        ("users: 16", "users: 16, rates: [1]"),
        ("requests: 320", "requests: 0"),
        ("users: 16", "users: 16, hang_ups: 0.5"),
        ('mix: "on"', "mix: true"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, change: str, named: str) -> None:
    text = (Path(shipped.__code__.co_filename).parent / "scenarios" / "on.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert read(file).name == "mine"
    assert change in text
    file.write_text(text.replace(change, named))
    with pytest.raises(ScenarioError, match=r"mine\.yaml"):
        read(file)


def test_load_stays_on_this_machine() -> None:
    assert Target("http://localhost:8000", "scenes")
    with pytest.raises(TargetError, match=r"example\.com"):
        Target("http://example.com:8000", "scenes")


def test_half_asks_both_of_every_scene_in_every_way() -> None:
    plan = make_plan(Traffic(mix="half", way="each", users=4, requests=240, seconds=10, images=40))
    assert {(ask.scene, ask.eah) for ask in plan} == {(scene, eah) for scene in range(40) for eah in (False, True)}
    assert {ask.way for ask in plan if ask.eah} == {"field", "alias", "xargs"}
    for ask in plan:
        asked = fields(ask, "scenes", report=True)
        assert (asked == {"model": "scenes"}) != ask.eah


def test_records_survive_their_file(tmp_path: Path) -> None:
    records = _right(_pool(), _plan())
    write_lines(tmp_path / "lines", records)
    assert read_lines(tmp_path / "lines") == records
