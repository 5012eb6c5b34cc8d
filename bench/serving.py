"""Serving: throughput, TTFT and TPOT under load, for stock vLLM, EAH off, on, and in every second request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eah_vllm_server.__main__ import configs_dir

from bench.checkpoint import MEDIUM, make_checkpoint
from bench.children import cpu_seconds, wait_until_idle
from bench.load import random_requests, run_load, switched
from bench.results import Part, rotated, say
from bench.servers import applied, both_servers, check_applied
from eah_vllm.scenes import MODEL_PATH

SETTINGS = ("stock", "off", "on", "half")
WAKE_UP = 4
"""Requests that are sent before each run, because an idle server answers its first requests late."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A served model, and the requests that are sent to it."""

    name: str
    model: Path
    arguments: tuple[str, ...]
    side: int
    """Pixels of the square pictures."""
    input_len: int
    """Tokens of the question, without those of the image and of the chat template."""
    output_len: int
    requests: dict[int, int]
    """By concurrency, the number of requests of one run."""


def scenes(quick: bool) -> Workload:
    """Return the workload of the built-in model, as `eah-vllm serve` serves it."""
    arguments = (str(MODEL_PATH), "--config", str(configs_dir() / "scenes.yaml"))
    requests = {1: 4, 8: 16, 16: 32} if quick else {1: 24, 8: 96, 16: 320}
    return Workload("scenes", MODEL_PATH, arguments, 256, 16, 8 if quick else 32, requests)


def medium(folder: Path, quick: bool) -> Workload:
    """Return the workload of a larger LLaVA with random weights and the 576 image tokens of LLaVA-1.5."""
    arguments = (
        str(make_checkpoint(folder, MEDIUM)),
        "--served-model-name", "medium",
        "--load-format", "dummy",
        "--dtype", "bfloat16",
        "--max-model-len", "1024",
        "--max-num-seqs", "32",
        "--kv-cache-memory-bytes", str(1 << 30),
        "--enforce-eager",
    )  # fmt: skip
    return Workload("medium", folder, arguments, MEDIUM.image_size, 32, 4 if quick else 16, {16: 16 if quick else 32})


def measure(workload: Workload, rounds: int, part: Part, settings: Sequence[str] = SETTINGS) -> None:
    """Measure rounds of every setting at every concurrency, in rotating order."""
    with both_servers(workload.arguments) as servers:
        pids = {server.pid for server in servers.values()}
        sizes = {"side": workload.side, "input_len": workload.input_len, "output_len": workload.output_len}
        for concurrency, number in workload.requests.items():
            for round_idx in range(-1, rounds):  # the first round warms up and is not kept
                seed = 1000 * concurrency + 2 * (round_idx + 1)
                some = number if round_idx >= 0 else max(number // 4, concurrency)
                requests = random_requests(workload.model, some, seed=seed, **sizes)
                wake_up = random_requests(workload.model, WAKE_UP, seed=seed + 1, **sizes)
                row: dict[str, Any] = {}
                for setting in rotated(settings, round_idx):
                    server = servers[setting]
                    server.empty_caches()
                    wait_until_idle(*pids)
                    run_load(server, workload.model, workload.name, switched(wake_up, "off"), concurrency)
                    before, worked = applied(server), cpu_seconds(server.pid)
                    row[setting] = run_load(
                        server, workload.model, workload.name, switched(requests, setting), concurrency
                    )
                    row[setting]["server_cpu_ms"] = 1000 * (cpu_seconds(server.pid) - worked) / some
                    check_applied(server, before, {"on": some, "half": -(-some // 2)}.get(setting, 0))
                rates = ", ".join(f"{s} {row[s]['requests_per_second']:.2f}" for s in settings)
                say(f"serving {workload.name} c{concurrency} round {round_idx + 1} of {rounds}: requests/s {rates}")
                if round_idx >= 0:
                    part.add_round(f"{workload.name}_c{concurrency}", row)


def figures(part: Part, model: str, suffix: str) -> None:
    """Add ratios to stock vLLM: of throughput, of the medians of TTFT and TPOT, and of the server's processor time.

    Other load on the machine hardly changes processor time, while it does change times by the clock.
    """
    metrics = {
        "throughput": "requests_per_second",
        "serving_ttft": "ttft_p50_ms",
        "serving_tpot": "tpot_p50_ms",
        "server_cpu": "server_cpu_ms",
    }
    for group in part.rounds:
        concurrency = group.removeprefix(f"{model}_")
        for setting in SETTINGS[1:]:
            for name, metric in metrics.items():
                part.figure(
                    f"{name}_{setting}_over_stock_{concurrency}{suffix}",
                    group,
                    lambda row, s=setting, m=metric: row[s][m] / row["stock"][m],
                )
