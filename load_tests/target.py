"""The server under load: its address, its counters, its memory."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psutil

from tools.client import Client
from tools.processes import family, memory

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SETTLE_SECONDS = 60
COUNT_SECONDS = 2.0


class TargetError(RuntimeError):
    """The server cannot be put under load; the message says why."""


@dataclass(frozen=True)
class Target:
    """A server to ask.

    Attributes:
        url: address without `/v1`, on this machine.
        model: served name; `NAME:eah` is its alias.
        api_key: key that the server asks for.
        pid: ID of the process whose children are the server; None where it is not known, and memory is not measured.
    """

    url: str
    model: str
    api_key: str = "EMPTY"
    pid: int | None = None

    def __post_init__(self) -> None:
        host = urllib.parse.urlsplit(self.url).hostname
        if host not in LOOPBACK:
            raise TargetError(f"{self.url}: load stays on this machine, so the host must be one of {LOOPBACK}")

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}"}

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Send a GET, or a POST if there is a body; return status and text, with status 0 if nobody answers."""
        client = Client(self.url, self.api_key)
        try:
            return client.get(path) if body is None else client.post(path, body)
        except OSError as error:
            return 0, str(error)

    def facts(self) -> dict[str, Any]:
        """Return what `GET /v1/eah` answers; an empty dict where there is no such route."""
        status, body = self.call("/v1/eah")
        found: dict[str, Any] = json.loads(body) if status == 200 else {}
        return found

    def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics`, summed over their labels, but `eah_requests_total` by outcome."""
        client = Client(self.url, self.api_key)
        try:
            samples = list(client.samples())
        except OSError:
            return {}  # nobody answers
        summed: defaultdict[str, float] = defaultdict(float)
        for sample in samples:
            summed[sample.name] += sample.value
            if sample.name == "eah_requests_total":
                summed[f"{sample.name} {sample.labels['outcome']}"] += sample.value
        return dict(summed)

    def empty_caches(self) -> bool:
        """Let the server forget prompts and pictures; return False where it refuses, or has no routes for that."""
        try:
            Client(self.url, self.api_key).empty_caches()
        except (OSError, RuntimeError):
            return False
        return True

    def left_over(self) -> float | None:
        """Return the number of requests that still run or wait although every client was answered or has left."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            metrics = self.metrics()
            if not metrics:
                return None
            held = metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"]
            if not held or time.monotonic() > deadline:
                return held
            time.sleep(0.2)

    def settled(self) -> dict[str, float]:
        """Return `metrics()` once earlier requests are counted: counts reach the HTTP process a second after them."""
        deadline = time.monotonic() + SETTLE_SECONDS
        metrics = self.metrics()
        while True:
            time.sleep(COUNT_SECONDS)
            before, metrics = metrics, self.metrics()
            name = "eah_requests_total"
            if before.get(name) == metrics.get(name) or time.monotonic() > deadline:
                return metrics

    def applied_since(self, before: dict[str, float], least: int) -> float | None:
        """Return how many requests the server counts as applied since `before`; counts arrive a second late."""
        name = "eah_requests_total applied"
        deadline = time.monotonic() + SETTLE_SECONDS / 2
        while True:
            metrics = self.metrics()
            if not metrics:
                return None
            counted = metrics.get(name, 0.0) - before.get(name, 0.0)
            if counted >= least or time.monotonic() > deadline:
                return counted
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """Return the server's process and its children; an empty list where its pid is not known or gone."""
        return [] if self.pid is None else family(self.pid)

    def memory(self) -> dict[str, float] | None:
        """Return the MiB of all processes, as `tools.processes.memory` does; None where there are no processes."""
        found = self.processes()
        return memory(found) if found else None
