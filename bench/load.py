"""Load on a server from vLLM's own benchmark client (`vllm bench serve`), with its random multimodal workload."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import io
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vllm.benchmarks.datasets import RandomMultiModalDataset, SampleRequest
from vllm.benchmarks.serve import TaskType, benchmark
from vllm.tokenizers import get_tokenizer

from tests.server.serving import API_KEY, Server

# It tells of every question that is a token longer or shorter than asked for; those are the same for all settings.
logging.getLogger("vllm.benchmarks").setLevel(logging.ERROR)
PERCENTILES = (50, 90, 99)
ON: dict[str, Any] = {"eah": True}


@cache
def tokenizer(model: Path) -> Any:
    """Tokenizer of a checkpoint."""
    return get_tokenizer(str(model))


def random_requests(
    model: Path, number: int, *, seed: int, side: int, input_len: int, output_len: int
) -> list[SampleRequest]:
    """`--dataset-name random-mm`: a picture of noise, `side` pixels wide and high, and random text in each request."""
    dataset = RandomMultiModalDataset(random_seed=seed)
    with contextlib.redirect_stdout(io.StringIO()):
        return dataset.sample(
            tokenizer=tokenizer(model),
            num_requests=number,
            range_ratio=0.0,
            input_len=input_len,
            output_len=output_len,
            base_items_per_request=1,
            limit_mm_per_prompt={"image": 1},
            bucket_config={(side, side, 1): 1.0},
        )


def switched(requests: Sequence[SampleRequest], setting: str) -> list[SampleRequest]:
    """The same requests with EAH asked for in all ("on"), in every second ("half"), or in none of them."""
    every = {"stock": 0, "off": 0, "on": 1, "half": 2}[setting]
    return [
        dataclasses.replace(request, request_overrides=ON if every and idx % every == 0 else None)
        for idx, request in enumerate(requests)
    ]


def run_load(server: Server, model: Path, name: str, requests: Sequence[SampleRequest], concurrency: int) -> Any:
    """Send all requests, `concurrency` at a time; vLLM's figures.

    Raises:
        RuntimeError: a request failed or was answered at another length than asked for.
    """
    gc.collect()
    gc.freeze()  # as vLLM's command does: no pauses of the client for what is long loaded
    with contextlib.redirect_stdout(io.StringIO()):
        result = asyncio.run(_benchmark(server, model, name, requests, concurrency))
    lengths = [request.expected_output_len for request in requests]
    if result["failed"] or result["output_lens"] != lengths:
        errors = [error for error in result["errors"] if error]
        raise RuntimeError(f"{result['failed']} requests failed; lengths {result['output_lens']}; {errors[:1]}")
    figures = {"requests_per_second": result["request_throughput"]}
    for metric in ("ttft", "tpot"):
        figures |= {f"{metric}_p{p}_ms": result[f"p{p}_{metric}_ms"] for p in PERCENTILES}
    return figures


async def _benchmark(
    server: Server, model: Path, name: str, requests: Sequence[SampleRequest], concurrency: int
) -> dict[str, Any]:
    result: dict[str, Any] = await benchmark(
        task_type=TaskType.GENERATION,
        endpoint_type="openai-chat",
        api_url=f"{server.url}/v1/chat/completions",
        base_url=server.url,
        model_id=name,
        model_name=name,
        tokenizer=tokenizer(model),
        input_requests=list(requests),
        logprobs=None,
        request_rate=float("inf"),
        burstiness=1.0,
        disable_tqdm=True,
        num_warmups=0,
        profile=False,
        selected_percentile_metrics=["ttft", "tpot"],
        selected_percentiles=[float(p) for p in PERCENTILES],
        ignore_eos=True,
        goodput_config_dict={},
        max_concurrency=concurrency,
        lora_modules=None,
        extra_headers={"Authorization": f"Bearer {API_KEY}"},
        extra_body={"temperature": 0},
        ready_check_timeout_sec=0,  # it would send a request of the workload before the workload
    )
    return result
