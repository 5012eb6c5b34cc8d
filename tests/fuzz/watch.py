"""What a server's processes hold and what its log says, seen from outside."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path
from typing import Self

import psutil

TRACE = "Traceback (most recent call last)"
REFUSALS = ("OptionError:", "VLLMValidationError:", "VLLMUnprocessableEntityError:")
"""What we raise on purpose; vLLM logs some of it with a traceback before it answers 400."""
OURS = re.compile(r'File "[^"]*/eah_vllm(?:_server)?/[^"]*", line \d+')
FATAL = (
    "Exception in ASGI application",
    "Task exception was never retrieved",
    "Exception in callback",
    "EngineDeadError",
    "encountered a fatal error",
    "died unexpectedly",
    "MemoryError",
    "Fatal Python error",
    "Segmentation fault",
)
"""Nobody caught it."""


def log_violations(new: str) -> list[str]:
    """What in these new lines of the log must not be there: errors that nobody caught, or that our own code raised.

    vLLM itself logs a traceback for some bad requests, before it answers 400; those are counted, not judged.
    """
    found = [f"the log says {word!r}" for word in FATAL if word in new]
    for trace in new.split(TRACE)[1:]:
        frames = re.findall(r'File "[^"]+", line \d+, in \S+', trace)
        if frames and OURS.match(frames[-1]) and not any(name in trace for name in REFUSALS):
            found.append(f"a traceback ends in our code: {frames[-1]}")
    return found


class Memory:
    """Memory of a process and its descendants, in MiB, from `/proc`."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.pids = self._alive()

    def _alive(self) -> frozenset[int]:
        return frozenset(p.pid for p in (self._root, *self._root.children(recursive=True)) if p.is_running())

    def lost(self) -> frozenset[int]:
        """Processes that were there at the start and are gone."""
        return self.pids - self._alive()

    def resident(self) -> float:
        """RSS of all of them; pages that they share count for each."""
        return sum(_status(pid, "VmRSS") for pid in self.pids)

    def peak(self) -> float:
        """The sum of what each held at its fullest moment since `forget_peak`."""
        return sum(_status(pid, "VmHWM") for pid in self.pids)

    def forget_peak(self) -> None:
        """Start to look for the fullest moment anew (proc(5), clear_refs)."""
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Trap:
    """A port of this machine where nobody should come; counts who does."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self.visits += 1
            connection.close()

    def __exit__(self, *exc: object) -> None:
        self._socket.close()


class Silent(Trap):
    """A port that takes connections and never says a word."""

    def _listen(self) -> None:
        held = []
        while True:
            try:
                held.append(self._socket.accept()[0])
            except OSError:
                break  # closed
            self.visits += 1
        for connection in held:
            connection.close()
