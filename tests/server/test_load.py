"""The load tests in short, against one real server. `make load` runs them at their full size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from load_tests.judge import judge
from load_tests.page import write_page
from load_tests.plan import CAPTION, make_plan
from load_tests.pool import Pool, ask_alone
from load_tests.records import FINISHED, GAVE_UP
from load_tests.result import Result
from load_tests.run import run
from load_tests.scenario import Scenario, Serve, shipped
from load_tests.starting import started
from load_tests.target import Target

IMAGES = 24
"""Of fewer, EAH changes no caption."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with started(Serve()) as target:
        yield target


@pytest.fixture(scope="module")
def pool(target: Target) -> Pool:
    pool = ask_alone(target, IMAGES, [CAPTION], [False, True])
    assert pool.changed(), "EAH changes no caption: nothing could be told apart here"
    return pool


def _short(name: str, requests: int, images: int = IMAGES) -> Scenario:
    scenario = shipped()[name]
    less = {"requests": requests, "images": images, "users": 8}
    return scenario.model_copy(update={"traffic": scenario.traffic.model_copy(update=less)})


def _crossed(result: Result) -> set[str]:
    # Times are not tested; the bounds on CHAIR are for the pool of the shipped files.
    untested = {"goodput_share", "ttft_p99_ms", "e2el_p99_ms", "chairs_on", "chairs_off"}
    return {row["figure"] for row in result.thresholds if not row["holds"]} - untested


def test_locust_half_of_the_requests_with_eah(target: Target, pool: Pool, tmp_path: Path) -> None:
    scenario = _short("half", 48)
    result = run(scenario, target, pool, tmp_path)
    assert _crossed(result) == set(), (result.verdict.failures, result.verdict.wrong)
    assert result.figures["finished"] == 48
    assert result.figures["eah_finished"] == 24
    for name in ("ttft_p99_ms", "tpot_p50_ms", "itl_p90_ms", "e2el_p99_ms", "tokens_per_s"):
        assert result.figures[name], name

    plan = make_plan(scenario.traffic)
    mixed_up = judge(plan, result.records, pool.mixed_up())
    assert mixed_up.figures["wrong_answers"] == 48, "the judge takes a wrong answer for the right one"

    # What a server that ignores the field says: these are real answers without EAH.
    ignored = [record for record in result.records if not plan[record.ask].eah]
    as_asked = [dataclasses.replace(ask, eah=True) for ask in plan]
    verdict = judge(as_asked, ignored, pool, applied=0)
    assert verdict.figures["applied_share"] == 0
    assert verdict.figures["wrong_answers"]


def test_locust_clients_that_go_away(target: Target, pool: Pool, tmp_path: Path) -> None:
    result = run(_short("storm", 48, images=6), target, pool, tmp_path)
    assert _crossed(result) == set(), (result.verdict.failures, result.verdict.wrong)
    assert {record.outcome for record in result.records} == {FINISHED, GAVE_UP}
    assert result.figures["prefix_hits"], "nothing was shared; that EAH writes no block of others was not tested"


def test_vllm_bench_and_the_page(target: Target, pool: Pool, tmp_path: Path) -> None:
    result = run(_short("on", 24), target, pool, tmp_path)
    assert _crossed(result) == set(), (result.verdict.failures, result.verdict.wrong)
    assert result.figures["applied_share"] == 1

    machine = {"cpu": "a processor", "cores": 2, "gpu": None}
    told = {"date": "today", "command": "test", "commit": "none", "machine": machine, "versions": {}, "mixed_up": False}
    write_page([result.to_dict() | {"run": told}], tmp_path / "load.html")
    page = (tmp_path / "load.html").read_text()
    assert "All 1 scenarios passed" in page or "Failed: on" in page  # by its times, which are not tested
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
