"""Watches the machine while a scenario runs: the server's memory, and how busy others keep the processors."""

from __future__ import annotations

import os
import resource
import statistics
import threading
import time
from types import TracebackType
from typing import Any

import psutil

from load_tests.target import Target

SAMPLES = 240
"""Approximate number of samples in a run; there is never more than one a second."""
QUIET = 0.1
"""Processors that others may keep busy during a measurement."""


class Watch:
    """Watches a run of at most `seconds`; use it as a context manager."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target = target
        self._every = max(1.0, seconds / SAMPLES)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.memory: list[dict[str, float]] = []
        """Samples: memory in MiB as `pss` and `own`, and the second `at` which it was read."""
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Watch:
        self._started = time.monotonic()
        self._cpu = self._cpu_seconds()
        self.facts["load_average_before"] = os.getloadavg()[0]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.facts["load_average_after"] = os.getloadavg()[0]
        ours, all_ = (now - before for now, before in zip(self._cpu_seconds(), self._cpu, strict=True))
        if self._target.pid is None:
            self.facts["cores_busy_with_others"] = None
        else:
            self.facts["cores_busy_with_others"] = max(0.0, (all_ - ours) / (time.monotonic() - self._started))

    def growth(self, warm: float) -> float | None:
        """Return the percent by which the server's own memory grew from `warm` (a share of the time) to the end.

        It compares medians of a twentieth of the samples at either time, since single ones vary with what is under way.
        """
        number = max(3, len(self.memory) // 20)
        first = int(len(self.memory) * warm)
        if first + 2 * number > len(self.memory):
            return None
        before, after = (
            statistics.median(sample["own"] for sample in some)
            for some in (self.memory[first : first + number], self.memory[-number:])
        )
        return 100 * (after - before) / before

    def _sample(self) -> None:
        while not self._over.is_set():
            try:
                memory = self._target.memory()
            except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                memory = None  # a process ended while it was read; if it was the server, requests fail
            if memory:
                self.memory.append({"at": time.monotonic() - self._started} | memory)
            self._over.wait(self._every)

    def _cpu_seconds(self) -> tuple[float, float]:
        """Return the processor seconds of the server, this process and its ended children; and of the whole machine."""
        ours = 0.0
        for process in self._target.processes():
            times = process.cpu_times()
            ours += times.user + times.system
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            ours += used.ru_utime + used.ru_stime
        machine = psutil.cpu_times()
        return ours, sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
