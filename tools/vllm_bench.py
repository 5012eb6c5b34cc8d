"""Calls vLLM's own benchmark client, `vllm bench serve`, as a function."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.benchmarks.datasets import SampleRequest
from vllm.benchmarks.serve import TaskType, benchmark

# It warns of every prompt that is a token longer or shorter than asked for; those are the same for all settings.
logging.getLogger("vllm.benchmarks").setLevel(logging.ERROR)


def send(
    url: str,
    model: str,
    requests: Sequence[SampleRequest],
    *,
    headers: Mapping[str, str] | None,
    users: int | None = None,
    rate: float | None = None,
    tokenizer: Any = None,
    ignore_eos: bool = False,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Send all requests; return vLLM's figures (`ttft`, `tpot`, `itl`, `e2el` at p50, p90, p99) and every answer.

    Args:
        url: address of the server, without /v1.
        model: served name of the model.
        requests: the requests to send.
        headers: HTTP headers of every request.
        users: most requests that are under way at a time.
        rate: requests per second, arriving as a Poisson process; without it all are sent at once.
        tokenizer: counts the answers' tokens; without it the server's own counts are used.
        ignore_eos: whether answers go on to the length that was asked for.
        seconds: time bound on the whole run.

    Raises:
        TimeoutError: the run did not end within `seconds`.
    """
    gc.collect()
    gc.freeze()  # as vLLM's command does: the garbage collector no longer pauses the client for long-loaded objects
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return asyncio.run(
                asyncio.wait_for(
                    benchmark(
                        task_type=TaskType.GENERATION,
                        endpoint_type="openai-chat",
                        api_url=f"{url}/v1/chat/completions",
                        base_url=url,
                        model_id=model,
                        model_name=model,
                        tokenizer=tokenizer,
                        input_requests=list(requests),
                        logprobs=None,
                        request_rate=rate or float("inf"),
                        burstiness=1.0,
                        disable_tqdm=True,
                        num_warmups=0,
                        profile=False,
                        selected_percentile_metrics=["ttft", "tpot", "itl", "e2el"],
                        selected_percentiles=[50.0, 90.0, 99.0],
                        ignore_eos=ignore_eos,
                        goodput_config_dict={},
                        max_concurrency=users,
                        lora_modules=None,
                        extra_headers=headers,
                        extra_body={"temperature": 0},
                        ready_check_timeout_sec=0,  # the check would send one of the requests before the others
                    ),
                    seconds,
                )
            )
    finally:
        gc.unfreeze()
