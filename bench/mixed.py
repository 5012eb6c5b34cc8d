"""Plain traffic while EAH requests run: long text prompts, which vLLM splits; every second request has a picture."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm.benchmarks.datasets import RandomDataset, SampleRequest

from bench.checkpoint import Geometry, make_checkpoint
from bench.children import wait_until_idle
from bench.load import ON, random_requests, tokenizer
from bench.results import Part, rotated, say
from bench.servers import STOCK, applied, both_servers, check_applied
from tools.serving import API_KEY, Server
from tools.vllm_bench import send

SETTINGS = (*STOCK, "off", "half")
GEOMETRY = Geometry(
    layers=4, hidden=256, heads=4, intermediate=688, vocabulary=512,
    vision_layers=2, vision_hidden=128, vision_intermediate=256, positions=12288,
)  # fmt: skip
"""A small model, so that a prompt of 8,000 tokens takes seconds on a CPU; 576 image tokens as in LLaVA-1.5."""
PROMPT, SPREAD = 5000, 0.6
"""Mean length of a prompt in tokens, and the share by which lengths vary around it: from 2,000 to 8,000 tokens."""
CONCURRENCY = 6
PERCENTILES = (50, 99)
METRICS = [f"{name}_p{percentile}_ms" for name in ("ttft", "itl") for percentile in PERCENTILES]


def long_requests(model: Path, number: int, *, seed: int, output_len: int) -> list[SampleRequest]:
    """Make requests as `--dataset-name random` does: random text alone."""
    with contextlib.redirect_stdout(io.StringIO()):
        return RandomDataset(random_seed=seed).sample(
            tokenizer=tokenizer(model),
            num_requests=number,
            input_len=PROMPT,
            range_ratio={"input": SPREAD, "output": 0.0},
            output_len=output_len,
        )


def measure(folder: Path, rounds: int, part: Part, *, quick: bool) -> None:
    """Measure rounds of every setting, in rotating order; only the answers to the long prompts are timed."""
    number, output_len = (4, 8) if quick else (24, 32)
    model = make_checkpoint(folder, GEOMETRY)
    arguments = (
        str(model),
        "--served-model-name", "mixed",
        "--load-format", "dummy",
        "--dtype", "bfloat16",
        "--max-model-len", str(GEOMETRY.positions),
        "--kv-cache-memory-bytes", str(1 << 30),
        "--enforce-eager",
    )  # fmt: skip
    with both_servers(arguments, STOCK) as servers:
        part.facts |= {"tokens": [], "requests": 2 * number, "concurrency": CONCURRENCY}
        for round_idx in range(-1, rounds):  # the first round warms up and is not kept
            seed = 7000 + 2 * (round_idx + 1)
            long = long_requests(model, number, seed=seed, output_len=output_len)
            sizes = {"side": GEOMETRY.image_size, "input_len": 32, "output_len": output_len}
            seen = random_requests(model, number, seed=seed + 1, **sizes)
            row: dict[str, Any] = {}
            for setting in rotated(SETTINGS, round_idx):
                server = servers[setting]
                server.empty_caches()
                wait_until_idle(*{other.pid for other in servers.values()})
                before = applied(server)
                row[setting], tokens = _run(server, model, long, seen, with_eah=setting == "half")
                check_applied(server, before, number if setting == "half" else 0)
            say(f"mixed round {round_idx + 1} of {rounds}: {row}")
            if round_idx >= 0:
                part.add_round("mixed", row)
                part.facts["tokens"] = [min([*part.facts["tokens"], *tokens]), max([*part.facts["tokens"], *tokens])]
    for setting in SETTINGS[1:]:
        for metric in METRICS:
            name = f"mixed_{metric.removesuffix('_ms')}_{setting}_over_stock"
            part.figure(name, "mixed", lambda row, s=setting, m=metric: row[s][m] / row["stock"][m])


def _run(
    server: Server, model: Path, long: Sequence[SampleRequest], seen: Sequence[SampleRequest], *, with_eah: bool
) -> tuple[dict[str, float], list[int]]:
    """Return the figures of the long prompts, and their lengths in tokens; both kinds of request take turns."""
    asked = [dataclasses.replace(request, request_overrides=ON if with_eah else None) for request in seen]
    requests = [request for pair in zip(long, asked, strict=True) for request in pair]
    result = send(
        server.url,
        "mixed",
        requests,
        headers={"Authorization": f"Bearer {API_KEY}"},
        users=CONCURRENCY,
        tokenizer=tokenizer(model),
        ignore_eos=True,
    )
    if result["failed"]:
        errors = [error for error in result["errors"] if error]
        raise RuntimeError(f"{result['failed']} requests failed: {errors[:1]}")
    times = {"ttft": result["ttfts"][::2], "itl": [gap for gaps in result["itls"][::2] for gap in gaps]}
    figures = {
        f"{name}_p{percentile}_ms": 1000 * statistics.quantiles(values, n=100, method="inclusive")[percentile - 1]
        for name, values in times.items()
        for percentile in PERCENTILES
    }
    return figures | {"requests_per_second": result["request_throughput"]}, result["input_lens"][::2]
