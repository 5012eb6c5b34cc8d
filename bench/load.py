"""Puts a server under load with vLLM's own client (`vllm bench serve`) and its random multimodal workload."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vllm.benchmarks.datasets import RandomMultiModalDataset, SampleRequest
from vllm.tokenizers import get_tokenizer

from tools.serving import API_KEY, Server
from tools.vllm_bench import send

PERCENTILES = (50, 90, 99)
ON: dict[str, Any] = {"eah": True}


@cache
def tokenizer(model: Path) -> Any:
    """Return the tokenizer of a checkpoint."""
    return get_tokenizer(str(model))


def random_requests(
    model: Path, number: int, *, seed: int, side: int, input_len: int, output_len: int
) -> list[SampleRequest]:
    """Make requests as `--dataset-name random-mm` does: random text, and a `side` x `side` picture of noise."""
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
    """Return the same requests, with EAH asked for in all ("on"), in every second one ("half"), or in none."""
    every = {"stock": 0, "off": 0, "on": 1, "half": 2}[setting]
    return [
        dataclasses.replace(request, request_overrides=ON if every and idx % every == 0 else None)
        for idx, request in enumerate(requests)
    ]


def run_load(server: Server, model: Path, name: str, requests: Sequence[SampleRequest], concurrency: int) -> Any:
    """Send all requests, `concurrency` at a time, and return vLLM's figures.

    Raises:
        RuntimeError: a request failed or was answered at another length than asked for.
    """
    result = send(
        server.url,
        name,
        requests,
        headers={"Authorization": f"Bearer {API_KEY}"},
        users=concurrency,
        tokenizer=tokenizer(model),
        ignore_eos=True,
    )
    lengths = [request.expected_output_len for request in requests]
    if result["failed"] or result["output_lens"] != lengths:
        errors = [error for error in result["errors"] if error]
        raise RuntimeError(f"{result['failed']} requests failed; lengths {result['output_lens']}; {errors[:1]}")
    figures = {"requests_per_second": result["request_throughput"]}
    for metric in ("ttft", "tpot"):
        figures |= {f"{metric}_p{p}_ms": result[f"p{p}_{metric}_ms"] for p in PERCENTILES}
    return figures
