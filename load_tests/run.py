"""Runs one scenario against one server: traffic, verdict on every answer, figures, thresholds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from load_tests.figures import timeline, timing
from load_tests.judge import judge
from load_tests.plan import Ask, body, make_plan
from load_tests.pool import Pool
from load_tests.records import FINISHED, Record
from load_tests.result import Result
from load_tests.scenario import Scenario
from load_tests.target import Target
from load_tests.watch import Watch

WAKE_UP = 4
"""Requests that are sent before each run, because an idle server answers its first requests late."""
WARM = 1 / 6
"""Share of a run after which memory counts as warmed up."""
SATURATED = 0.8
"""A sweep ends after the step that was answered at less than this share of the rate at which it was asked ..."""
GOOD = 0.9
"""... and its best rate is the last one at which this share of the requests kept to the objective."""


def run(scenario: Scenario, target: Target, pool: Pool, folder: Path, *, builtin: bool = True) -> Result:
    """Run a scenario.

    Args:
        scenario: the traffic, objective and bounds.
        target: the server to ask.
        pool: at least as many scenes as the scenario wants, with references for all requests that it makes.
        folder: the folder for Locust's log and statistics.
        builtin: whether the built-in model is asked; some bounds hold only for it.
    """
    traffic = scenario.traffic
    for ask in make_plan(traffic.model_copy(update={"requests": WAKE_UP, "mix": "off"})):
        target.call("/v1/chat/completions", body(ask, pool.scenes[ask.scene], target.model))
    emptied = target.empty_caches()
    before = target.settled()
    plan: list[Ask] = []
    records: list[Record] = []
    steps: list[dict[str, float | None]] = []
    started = time.monotonic()
    with Watch(target, traffic.seconds * max(1, len(traffic.rates))) as watch:
        for number, rate in enumerate(traffic.rates or (None,)):
            asks = _asks(scenario, rate, seed=number)
            sent, seconds = _send(scenario, target, asks, pool, folder, rate)
            steps.append({"rate": rate, "seconds": seconds} | timing(sent, seconds, scenario.objective))
            for record in sent:
                record.ask += len(plan)
            plan += asks
            records += sent
            if rate and (steps[-1]["requests_per_s"] or 0.0) < SATURATED * rate:
                break
    took = time.monotonic() - started
    answered_on = sum(plan[record.ask].eah and record.outcome == FINISHED for record in records)
    applied = target.applied_since(before, answered_on) if answered_on else None
    verdict = judge(plan, records, pool, applied)
    figures = verdict.figures | {"left_over": target.left_over(), "memory_growth_percent": watch.growth(WARM)}
    figures |= _swept(steps) if traffic.rates else steps[0]
    counted = _counted(before, target.metrics())
    figures["prefix_hits"] = counted.get("vllm:prefix_cache_hits_total")
    facts = watch.facts | {
        "seconds": took,
        "caches_emptied_before": emptied,
        "scenes_passed_over": pool.passed_over,
        "server_counts": counted,
    }
    return Result(scenario, figures, verdict, steps, facts, watch.memory, timeline(records, took), records, builtin)


def _asks(scenario: Scenario, rate: float | None, seed: int) -> list[Ask]:
    """Plan a step; with a rate, it has as many requests as arrive in its time."""
    traffic = scenario.traffic
    if rate is not None:
        number = max(8, min(traffic.requests, round(rate * traffic.seconds)))
        traffic = traffic.model_copy(update={"requests": number})
    return make_plan(traffic, seed)


def _send(
    scenario: Scenario, target: Target, plan: Sequence[Ask], pool: Pool, folder: Path, rate: float | None
) -> tuple[list[Record], float]:
    if scenario.tool == "locust":
        from load_tests.with_locust import run_locust

        return run_locust(target, plan, pool, scenario.traffic, folder)
    from load_tests.with_bench import run_bench

    return run_bench(target, plan, pool, scenario.traffic, rate)


def _swept(steps: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Return a sweep's highest answered rate, and the last rate at which nearly all requests met the objective."""
    good = [step["rate"] for step in steps if (step["goodput_share"] or 0.0) >= GOOD]
    return {
        "best_rate": max((rate for rate in good if rate is not None), default=0.0),
        "requests_per_s": max(step["requests_per_s"] or 0.0 for step in steps),
        "goodput_per_s": max(step["goodput_per_s"] or 0.0 for step in steps),
    }


def _counted(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what the server counted between the two readings."""
    wanted = (
        "vllm:num_preemptions_total",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
    )
    names = [name for name in after if name in wanted or name.startswith("eah_requests_total ")]
    return {name: after[name] - before.get(name, 0.0) for name in names}
