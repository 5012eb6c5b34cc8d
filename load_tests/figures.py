"""Times of a run, by the definitions of `vllm bench serve`, whichever tool sent the requests."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics

from load_tests.records import FINISHED, GAVE_UP, Record
from load_tests.scenario import Objective

PERCENTILES = (50, 90, 99)
METRICS = ("ttft", "tpot", "itl", "e2el")
BINS = 60


def timing(records: Sequence[Record], seconds: float, objective: Objective) -> dict[str, float | None]:
    """Compute the figures of a run, or of a step of a sweep; times are in milliseconds, None if nothing was answered.

    Args:
        records: all requests. Those that their client gave up are left out; failed and refused ones miss the objective.
        seconds: time from the first request sent to the last answer.
        objective: the objective of goodput. An answer that is not streamed has no TTFT; its time to the whole answer
           takes the place.
    """
    wanted = [record for record in records if record.outcome != GAVE_UP]
    finished = [record for record in wanted if record.outcome == FINISHED]
    if not finished:
        return {"requests_per_s": 0.0, "tokens_per_s": 0.0, "goodput_per_s": 0.0, "goodput_share": 0.0}
    streamed = [record for record in finished if record.itl]
    found = _calculate(finished, seconds, objective)
    figures: dict[str, float | None] = {
        "requests_per_s": found.request_throughput,
        "tokens_per_s": found.output_throughput,
        "goodput_per_s": found.request_goodput,
        "goodput_share": found.request_goodput * seconds / max(1, len(wanted)),
    }
    by_token = _calculate(streamed, seconds, objective) if streamed else None
    for metric in METRICS:
        of = found if metric == "e2el" else by_token
        for percentile, value in getattr(of, f"percentiles_{metric}_ms") if of else [(p, None) for p in PERCENTILES]:
            figures[f"{metric}_p{percentile:g}_ms"] = None if value is None else float(value)
    return figures


def _calculate(finished: Sequence[Record], seconds: float, objective: Objective) -> Any:
    outputs = [
        RequestFuncOutput(
            generated_text=record.text,
            success=True,
            latency=record.latency,
            output_tokens=record.tokens,
            ttft=record.ttft or record.latency,
            itl=record.itl,
            start_time=record.start,
        )
        for record in finished
    ]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        found, _ = calculate_metrics(
            input_requests=[],
            outputs=outputs,
            dur_s=seconds,
            tokenizer=None,
            selected_percentiles=[float(p) for p in PERCENTILES],
            goodput_config_dict={"ttft": objective.ttft_ms, "tpot": objective.tpot_ms},
        )
    return found


def timeline(records: Sequence[Record], seconds: float) -> list[dict[str, float]]:
    """Compute the answers per second and their median latency over the time of a run, for its plot."""
    finished = [record for record in records if record.outcome == FINISHED]
    if not finished:
        return []
    width = max(1.0, seconds / BINS)
    began = min(record.start for record in finished)
    bins: defaultdict[int, list[float]] = defaultdict(list)
    for record in finished:
        bins[int((record.start + record.latency - began) / width)].append(record.latency)
    return [
        {
            "at": (number + 0.5) * width,
            "requests_per_s": len(bins[number]) / width,
            "e2el_p50_ms": 1000 * median(bins[number] or [0.0]),
        }
        for number in range(max(bins) + 1)
    ]
