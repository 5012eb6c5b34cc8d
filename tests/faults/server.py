"""A real server whose processes can be looked at and killed."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil
from eah_vllm_server.__main__ import complete, serve_parser

from tests.faults.http import get
from tools import ROOT
from tools.processes import family
from tools.serving import Server

SECONDS_TO_END = 40
"""More than any promise of docs/operations.md; who needs longer has not kept it."""
SHARED_MEMORY = re.compile(r"/dev/shm/\S+")
Identity = tuple[int, float]
"""Of a process: numbers are used again."""


class FaultServer(Server):
    """`eah-vllm serve`, by default of the built-in model."""

    def __init__(
        self, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None, *, plain: bool = False
    ) -> None:
        inspector = ["--worker-extension-cls", "tests.faults.inspector.FaultInspector"]
        paths = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
        # Bound to a core, as by default, it would share that one with every other engine of a small machine.
        unbound = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
        environment = {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": paths} | unbound | dict(env or {})
        if plain:
            # Of the built-in model, which only our command knows.
            arguments = complete(list(arguments), serve_parser()[0])
        super().__init__([*arguments, *inspector], env=environment, plain=plain)
        self.processes: set[Identity] = set()
        self.shared_memory: set[str] = set()
        self.remember()

    def remember(self) -> None:
        """Note every process and every piece of shared memory, to ask later what is left of them."""
        for process in self.family():
            self.processes.add((process.pid, process.create_time()))
            maps = Path(f"/proc/{process.pid}/maps")
            try:
                self.shared_memory |= set(SHARED_MEMORY.findall(maps.read_text()))
            except OSError:
                continue  # it ended in between

    def family(self) -> list[psutil.Process]:
        """The process that was started, and all under it."""
        return family(self.pid)

    def titled(self, title: str) -> psutil.Process:
        """The process that vLLM calls so, such as `EngineCore`."""
        found = [process for process in self.family() if title in " ".join(process.cmdline())]
        assert len(found) == 1, f"{len(found)} processes are called {title}"
        return found[0]

    def tell(self, number: signal.Signals) -> None:
        """Send a signal as a supervisor does: to the first process alone."""
        self._process.send_signal(number)

    async def ended(self, seconds: float = SECONDS_TO_END) -> int | None:
        """Exit status, None if it does not end in time."""
        deadline = time.monotonic() + seconds
        while (status := self._process.poll()) is None and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return status

    async def no_longer_healthy(self, seconds: float = SECONDS_TO_END) -> bool:
        """`/health` says something other than 200, or nothing, within the time."""
        deadline = time.monotonic() + seconds
        while (await get(self.port, "/health")).status == 200:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def left_over(self, seconds: float = 10) -> list[str]:
        """Processes and shared memory of a server that has ended; it may take a moment to let go."""
        deadline = time.monotonic() + seconds
        while (left := self._left()) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return left

    def _left(self) -> list[str]:
        alive = [f"process {pid}" for pid, created in self.processes if _alive(pid, created)]
        return alive + [name for name in sorted(self.shared_memory) if Path(name).exists()]

    def fill_disk(self) -> None:
        """From now on no file of these processes may grow past a byte: every write to the log fails."""
        for process in self.family():
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def empty_disk(self) -> None:
        """Files may grow again."""
        for process in self.family():
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def _alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def refusals(server: Server, reason: str) -> float:
    """`eah_http_refusals_total`."""
    return server.counter("eah_http_refusals_total", reason=reason)


def more_files(numbers: Iterable[int]) -> None:
    """Let this process open as many connections as the largest of these, and some files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(numbers) + 500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
