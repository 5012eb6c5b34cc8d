"""`load.html`: every result of a folder as one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import eah_vllm.evaluation.report
from eah_vllm.evaluation.report.plots import Plot, svg
from load_tests.drawings import latencies, memory, over_time, sweep_rates, sweep_times
from load_tests.watch import QUIET

TIMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "End to end"}
LONG = 60
"""Least seconds of a run that is drawn over time."""
NOTHING = "-"
Result = Mapping[str, Any]


def write_page(results: Sequence[Result], path: Path) -> None:
    """Write the page.

    Args:
        results: the results, in the form of `result.json`.
        path: path of the page.
    """
    folders = [Path(__file__).parent, Path(eah_vllm.evaluation.report.__file__).parent]
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    timed = [result for result in results if result["figures"].get("ttft_p99_ms")]
    swept = [result for result in results if len(result["steps"]) > 1]
    long = [result for result in results if result["facts"]["seconds"] >= LONG and len(result["steps"]) == 1]
    path.write_text(
        environment.get_template("page.html.jinja").render(
            told=headline(results),
            results=results,
            quality=[_quality(result) for result in results],
            speed=[_speed(result) for result in timed],
            times=list(TIMES.values()),
            latency_plots=_drawn([latencies(timed, metric, title) for metric, title in TIMES.items()] if timed else []),
            swept=[(result, _drawn([sweep_rates(result), sweep_times(result)])) for result in swept],
            long=[
                (result, _drawn([over_time(result)] + ([memory(result)] if result["memory"] else [])))
                for result in long
            ],
            said=_said,
            busy=_busy,
            quiet=QUIET,
        ),
        encoding="utf-8",
    )


def headline(results: Sequence[Result]) -> str:
    """Return the first sentence of the page: whether the answers were right and the thresholds held."""
    failed = [result["scenario"]["name"] for result in results if not result["passed"]]
    answers, wrong, failures = (
        sum(int(result["figures"].get(name) or 0) for result in results)
        for name in ("finished", "wrong_answers", "failures")
    )
    verdict = f"All {len(results)} scenarios passed" if not failed else f"Failed: {', '.join(failed)}"
    return f"{verdict}. {answers:,} answers under load, {wrong:,} of them wrong; {failures:,} requests failed."


def _quality(result: Result) -> dict[str, Any]:
    figures = result["figures"]
    share = figures.get("applied_share")
    return {
        "result": result,
        "cells": [
            ("Answered", f"{figures['finished']:,.0f} of {figures['asked']:,.0f}"),
            ("Refused", _count(figures["refused"])),
            ("Left by client", _count(figures["gave_up"])),
            ("Failed", _count(figures["failures"])),
            ("Wrong", _count(figures["wrong_answers"])),
            ("EAH applied", NOTHING if share is None else f"{100 * share:.1f} % of {figures['eah_finished']:,.0f}"),
            ("CHAIRs, off", _said(figures.get("chairs_off"))),
            ("CHAIRs, on", _said(figures.get("chairs_on"))),
        ],
    }


def _speed(result: Result) -> dict[str, Any]:
    figures = result["figures"]
    times = [
        (title, " / ".join(_said(figures.get(f"{metric}_p{p}_ms")) for p in (50, 90, 99)))
        for metric, title in TIMES.items()
    ]
    rates = [
        ("Requests/s", _said(figures["requests_per_s"])),
        ("Tokens/s", _said(figures.get("tokens_per_s"))),
        ("Goodput", f"{100 * (figures.get('goodput_share') or 0):.0f} %"),
    ]
    return {"result": result, "cells": rates + times}


def _busy(result: Result) -> str:
    """Say how far the times of a run can be trusted."""
    others = result["facts"]["cores_busy_with_others"]
    load = f"load average {result['facts']['load_average_before']:.1f} before"
    if others is None:
        return f"{load}; what others did is not known"
    return f"{load}; others kept {others:.2f} processors busy{'' if others <= QUIET else ': not quiet'}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _said(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _drawn(plots: Sequence[Plot]) -> list[Markup]:
    return [Markup(svg(plot)) for plot in plots]  # texts in it were escaped by matplotlib
