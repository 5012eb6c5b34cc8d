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
    """Whom to ask.

    Attributes:
        url: without `/v1`; on this machine.
        model: served name; `NAME:eah` is its alias.
        api_key: as the server wants it.
        pid: of the process whose children are the server; None where that is not known, and memory not measured.
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
        """Of every request."""
        return {"Authorization": f"Bearer {self.api_key}"}

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and text of a GET, or of a POST where there is a body; status 0 where nobody answers."""
        client = Client(self.url, self.api_key)
        try:
            return client.get(path) if body is None else client.post(path, body)
        except OSError as error:
            return 0, str(error)

    def facts(self) -> dict[str, Any]:
        """What `GET /v1/eah` says; nothing where there is no such page."""
        status, body = self.call("/v1/eah")
        found: dict[str, Any] = json.loads(body) if status == 200 else {}
        return found

    def metrics(self) -> dict[str, float]:
        """Samples of `/metrics` summed over their labels; `eah_requests_total` by outcome."""
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
        """Forget prompts and pictures; False where the server refuses, or has no routes for it."""
        try:
            Client(self.url, self.api_key).empty_caches()
        except (OSError, RuntimeError):
            return False
        return True

    def left_over(self) -> float | None:
        """Requests that still run or wait when everybody has had an answer or gone away, and does not end."""
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
        """`metrics()` once what ran before is counted: counts reach the HTTP process a second after the requests."""
        deadline = time.monotonic() + SETTLE_SECONDS
        metrics = self.metrics()
        while True:
            time.sleep(COUNT_SECONDS)
            before, metrics = metrics, self.metrics()
            name = "eah_requests_total"
            if before.get(name) == metrics.get(name) or time.monotonic() > deadline:
                return metrics

    def applied_since(self, before: dict[str, float], least: int) -> float | None:
        """Requests that the server counts as applied since `before`; counts arrive a second after the requests."""
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
        """The server and its children; none where its pid is not known or gone."""
        return [] if self.pid is None else family(self.pid)

    def memory(self) -> dict[str, float] | None:
        """MiB of all processes, as `tools.processes.memory` says; None where there are none."""
        found = self.processes()
        return memory(found) if found else None
