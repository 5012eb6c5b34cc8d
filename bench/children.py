"""Child processes: each has a process group of its own, which ends with the benchmark, however the benchmark ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil

from tools import ROOT
from tools.processes import family

IDLE_SECONDS = 60
IDLE_SHARE = 0.05
"""Share of one core below which a process is idle; a waiting vLLM process polls for a second before it sleeps."""


def exit_on_sigterm() -> None:
    """Leave `with` blocks, which end the children, also when the benchmark is terminated."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def wait_until_idle(*parents: int) -> None:
    """Return when these processes and their children have stopped computing.

    Raises:
        TimeoutError: they still compute after a minute.
    """
    watched = [process for pid in parents for process in family(pid)]
    deadline = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < deadline:
        before, since = _cpu_seconds(watched), time.monotonic()
        time.sleep(0.2)
        if _cpu_seconds(watched) - before < IDLE_SHARE * (time.monotonic() - since):
            return
    raise TimeoutError(f"processes {[process.pid for process in watched]} do not come to rest")


def cpu_seconds(pid: int) -> float:
    """Return the processor time, in seconds, that a process and its living children have taken so far."""
    return _cpu_seconds(family(pid))


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


class Child:
    """Runs `MODULE.serve(connection)` in a process of its own; use as a context manager."""

    def __init__(self, module: str, env: Mapping[str, str] | None = None) -> None:
        self._connection, theirs = Pipe()
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by __exit__
        code = "import sys; from multiprocessing.connection import Connection; "
        code += f"from {module} import serve; serve(Connection(int(sys.argv[1])))"
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())],
            env=os.environ | {"PYTHONPATH": path} | dict(env or {}),
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    @property
    def pid(self) -> int:
        """ID of the child process itself, which may have children of its own."""
        return self._process.pid

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function in the child, and return what it returns.

        Raises:
            RuntimeError: the function raised, or the child ended.
        """
        self._connection.send((name, arguments))
        try:
            error, value = self._connection.recv()
        except EOFError:
            error, value = "the child ended", None
        if error:
            raise RuntimeError(f"{error}\n{Path(self._log.name).read_text(errors='replace')[-6000:]}")
        return value

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # the child's loop ends and shuts its engine down
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5 if kind else 60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


def answer(connection: Any, functions: Mapping[str, Any]) -> None:
    """Run a child's loop: call the functions that the parent names, until the parent goes away."""
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((None, functions[name](*arguments)))
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            connection.send((f"{type(error).__name__}: {error}", None))
