"""Verified captions: time and throughput beside plain captions, on the built-in model and its scenes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
from eah_vllm_server.__main__ import configs_dir

from bench.children import cpu_seconds, wait_until_idle
from bench.results import Part, rotated, say
from bench.servers import both_servers
from eah_vllm.evaluation.tasks.scenes import CAPTION_TOKENS
from eah_vllm.scenes import MODEL_PATH
from eah_vllm.scenes.world import Scene, split_scenes
from tools.serving import API_KEY, Server, image_message

SETTINGS = ("stock", "off", "report", "rewrite")
VERIFIED = ("report", "rewrite")
OBJECTS = 3
"""Objects of each scene; the model names about as many."""
FIRST = 40_000
"""Place of the first scene in the split `test`; no figure of the documents and no load test has these scenes."""
CONCURRENCIES = (1, 16)


class Scenes:
    """Hands out unseen scenes with three objects, each once."""

    def __init__(self) -> None:
        self._next = FIRST

    def take(self, number: int) -> list[Scene]:
        """Return the next scenes."""
        found: list[Scene] = []
        while len(found) < number:
            (scene,) = split_scenes("test", 1, self._next)
            self._next += 1
            if len(scene.objects) == OBJECTS:
                found.append(scene)
        return found


def body(scene: Scene, setting: str) -> dict[str, Any]:
    """Return a request for a caption of a scene."""
    asked = {
        "model": "scenes",
        "messages": image_message(scene.pil()),
        "max_tokens": CAPTION_TOKENS,
        "temperature": 0,
    }
    return asked | ({"verify": {"action": setting}} if setting in VERIFIED else {})


async def ask_all(server: Server, bodies: Sequence[dict[str, Any]], concurrency: int) -> dict[str, float]:
    """Send all requests, `concurrency` at a time, and return the figures.

    Raises:
        RuntimeError: a request fails, or is not verified as it asks for.
    """
    todo = iter(bodies)
    seconds: list[float] = []
    reports: list[dict[str, Any]] = []
    lengths: list[int] = []

    async def work(client: httpx.AsyncClient) -> None:
        for asked in todo:
            started = time.perf_counter()
            reply = await client.post(f"{server.url}/v1/chat/completions", json=asked)
            seconds.append(time.perf_counter() - started)
            found = reply.json()
            report = found.get("verify")
            if reply.status_code != 200 or (report is None) == ("verify" in asked) or (report or {}).get("error"):
                raise RuntimeError(f"HTTP {reply.status_code}: {reply.text[:500]}")
            lengths.append(found["usage"]["completion_tokens"])
            reports.append(report or {})

    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=120, headers={"Authorization": f"Bearer {API_KEY}"}) as client:
        await asyncio.gather(*(work(client) for _ in range(concurrency)))
    total = time.perf_counter() - started
    mean = {
        name: statistics.fmean(one.get(name, 0) for one in reports) for name in ("asked", "tokens", "cached_tokens")
    }
    return {
        "seconds_p50": statistics.median(seconds),
        "requests_per_second": len(bodies) / total,
        "completion_tokens": statistics.fmean(lengths),
        **mean,
    }


def measure(rounds: int, part: Part, *, quick: bool) -> None:
    """Measure rounds of every setting at both concurrencies, in rotating order; each setting has scenes of its own.

    All settings of a round share the scenes, and the caches are emptied between them.
    """
    arguments = (str(MODEL_PATH), "--config", str(configs_dir() / "scenes.yaml"))
    requests = {1: 4, 16: 16} if quick else {1: 24, 16: 96}
    scenes = Scenes()
    with both_servers(arguments) as found:
        servers = {setting: found["stock" if setting == "stock" else "off"] for setting in SETTINGS}
        pids = {server.pid for server in servers.values()}
        for concurrency in CONCURRENCIES:
            for round_idx in range(-1, rounds):  # the first round warms up and is not kept
                some = requests[concurrency] if round_idx >= 0 else max(4, concurrency)
                shown, wake_up = scenes.take(some), scenes.take(4)
                row: dict[str, Any] = {}
                for setting in rotated(SETTINGS, round_idx):
                    server = servers[setting]
                    server.empty_caches()
                    wait_until_idle(*pids)
                    asyncio.run(ask_all(server, [body(scene, "off") for scene in wake_up], concurrency))
                    bodies, worked = [body(scene, setting) for scene in shown], cpu_seconds(server.pid)
                    row[setting] = asyncio.run(ask_all(server, bodies, concurrency))
                    row[setting]["server_cpu_ms"] = 1000 * (cpu_seconds(server.pid) - worked) / some
                told = ", ".join(
                    f"{s} {1000 * row[s]['seconds_p50']:.0f} ms {row[s]['requests_per_second']:.2f}/s" for s in SETTINGS
                )
                say(f"verify c{concurrency} round {round_idx + 1} of {rounds}: {told}")
                if round_idx >= 0:
                    part.add_round(f"verify_c{concurrency}", row)
    figures(part)


def figures(part: Part) -> None:
    """Add the ratios to plain requests of the same server and to stock vLLM."""
    for group in part.rounds:
        concurrency = group.rpartition("_")[2]
        for base in ("off", "stock"):
            for setting in (*VERIFIED, *(("off",) if base == "stock" else ())):
                for name, metric in (
                    ("time", "seconds_p50"), ("throughput", "requests_per_second"), ("cpu", "server_cpu_ms")
                ):  # fmt: skip
                    part.figure(
                        f"verify_{name}_{setting}_over_{base}_{concurrency}",
                        group,
                        partial(_ratio, setting, base, metric),
                    )


def _ratio(setting: str, base: str, metric: str, row: dict[str, Any]) -> float:
    return float(row[setting][metric] / row[base][metric])
