"""Sends traffic with vLLM's own client, `vllm bench serve`: in a closed loop, or at an arrival rate."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.benchmarks.datasets import SampleRequest

from load_tests.plan import Ask, fields, messages, question
from load_tests.pool import Pool
from load_tests.records import FAILED, FINISHED, Record
from load_tests.scenario import Traffic
from load_tests.target import Target
from tools.vllm_bench import send

DRAIN = 60
"""Seconds after the last arrival in which requests that are still under way may end."""


def run_bench(
    target: Target, plan: Sequence[Ask], pool: Pool, traffic: Traffic, rate: float | None = None
) -> tuple[list[Record], float]:
    """Send the whole plan.

    Args:
        target: the server to ask.
        plan: the requests.
        pool: the scenes that they are about.
        traffic: the number of users, where no rate is given, and the time bound.
        rate: requests per second, arriving as a Poisson process.

    Returns:
        One record for each request, and how long all took in seconds. The tool keeps no reports.
    """
    bound = traffic.seconds + (DRAIN if rate else 0)
    requests = [_request(target, ask, pool, traffic) for ask in plan]
    np.random.seed(0)  # this fixes the arrival times
    try:
        result = send(
            target.url,
            target.model,
            requests,
            headers=target.headers,
            users=None if rate else traffic.users,
            rate=rate,
            seconds=bound,
        )
    except TimeoutError:
        error = f"not over after {bound:g} s"
        return [Record(idx, FAILED, error=error) for idx in range(len(plan))], bound
    return [_record(result, idx) for idx in range(len(plan))], result["duration"]


def _request(target: Target, ask: Ask, pool: Pool, traffic: Traffic) -> SampleRequest:
    scene = pool.scenes[ask.scene]
    body = fields(ask, target.model, report=False)
    del body["model"]
    if traffic.fresh:
        body["cache_salt"] = uuid.uuid4().hex
    return SampleRequest(
        prompt="",
        prompt_len=0,  # the server's own count replaces this
        expected_output_len=question(scene, ask.kind)[1],
        chat_messages=messages(scene, ask.kind),
        request_overrides=body,
    )


def _record(result: dict[str, Any], idx: int) -> Record:
    error = result["errors"][idx]
    if error:
        return Record(idx, FAILED, start=result["start_times"][idx], error=error.strip().splitlines()[-1])
    return Record(
        ask=idx,
        outcome=FINISHED,
        start=result["start_times"][idx],
        ttft=result["ttfts"][idx],
        latency=result["latencies"][idx],
        itl=result["itls"][idx],
        tokens=result["output_lens"][idx],
        text=result["generated_texts"][idx],
    )
