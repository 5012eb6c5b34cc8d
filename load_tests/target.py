"""The server under load: its address, its counters, its memory."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SETTLE_SECONDS = 60
COUNT_SECONDS = 2.0
CACHES = ("prefix", "mm", "encoder")


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
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers | {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def facts(self) -> dict[str, Any]:
        """What `GET /v1/eah` says; nothing where there is no such page."""
        status, body = self.call("/v1/eah")
        found: dict[str, Any] = json.loads(body) if status == 200 else {}
        return found

    def metrics(self) -> dict[str, float]:
        """Samples of `/metrics` summed over their labels; `eah_requests_total` by outcome."""
        status, body = self.call("/metrics")
        if status != 200:
            return {}
        summed: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                summed[sample.name] += sample.value
                if sample.name == "eah_requests_total":
                    summed[f"{sample.name} {sample.labels['outcome']}"] += sample.value
        return dict(summed)

    def empty_caches(self) -> bool:
        """Forget prompts and pictures; False where the server has no routes for it (VLLM_SERVER_DEV_MODE=1)."""
        return all(self.call(f"/reset_{cache}_cache", {})[0] == 200 for cache in CACHES)

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
        if self.pid is None or not psutil.pid_exists(self.pid):
            return []
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def memory(self) -> dict[str, float] | None:
        """MiB of all processes: `pss`, and `own`, that is without pages of files, which other programs share."""
        found = [_rollup(process.pid) for process in self.processes()]
        if not found:
            return None
        return {
            "pss": sum(one["Pss"] for one in found) / 1024,
            "own": sum(one["Pss_Anon"] + one["Pss_Shmem"] for one in found) / 1024,
        }


def _rollup(pid: int) -> dict[str, int]:
    """KiB; a page that several processes share counts in part for each."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
