"""What is around the server breaks: its log's disk is full, its clock jumps."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.faults.http import get
from tests.faults.outcome import Begun, Outcome, Subject

CLOCK_SOURCE = Path(__file__).parent / "clock.c"
HOUR = 3600


class Clock:
    """A shared library that adds a number of seconds, read from a file, to the wall clock of whoever loads it.

    Setting the machine's own clock would need privileges, and hit everything else on it.
    """

    def __init__(self, folder: Path) -> None:
        self._library, self._offset = folder / "clock.so", folder / "offset"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self._library, CLOCK_SOURCE, "-ldl"], check=True)
        self.jump(0)
        self._see_it_jump()

    @property
    def env(self) -> dict[str, str]:
        """Of processes that shall have this clock."""
        return {"LD_PRELOAD": str(self._library), "FAULTS_CLOCK": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Be so many seconds off the true time from now on."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))

    def _see_it_jump(self) -> None:
        """Raises RuntimeError where a process does not see the jump: then nothing would be shown."""
        code = "from time import monotonic, time; t, m = time(), monotonic(); input(print(flush=True) or str());"
        code += "print(time() - t, monotonic() - m)"
        with subprocess.Popen([sys.executable, "-c", code], env=self.env, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # fmt: skip
            assert process.stdin
            assert process.stdout
            process.stdout.readline()
            self.jump(HOUR)
            wall, monotonic = (float(word) for word in process.communicate("\n")[0].split())
            self.jump(0)
        if not (HOUR - 60 < wall < HOUR + 60 and monotonic < 60):
            raise RuntimeError(f"the clock did not jump: {wall} and {monotonic} s")


def clock_jumps(clock: Clock) -> object:
    """The fault, for a server that has this clock."""

    async def fault(subject: Subject, outcome: Outcome) -> None:
        """The clock jumps an hour ahead, then two back, then to the true time, in the middle of answers."""
        for seconds in (HOUR, -HOUR, 0):
            begun = Begun(sum(one.stream for one in subject.asks))
            task = asyncio.create_task(subject.ask_all(begun))
            await begun.wait()
            clock.jump(seconds)
            outcome.judge(await task, subject.asks, subject.expected)
        outcome.check(outcome.counts["exact"] == 3 * len(subject.asks), f"not all were exact: {dict(outcome.counts)}")
        outcome.check((await get(subject.port, "/metrics")).status == 200, "/metrics does not answer")
        outcome.check((await get(subject.port, "/health")).status == 200, "/health is not 200")

    return fault


async def full_disk(subject: Subject, outcome: Outcome) -> None:
    """No file of the server may grow any more, its log least of all: answers and reports are as before."""
    server = subject.server
    server.fill_disk()
    before = len(server.log())
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    outcome.check(len(server.log()) == before, "the log grew: this was not what the test is about")
    server.empty_disk()
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    outcome.check(len(server.log()) > before, "the log did not come back")
    outcome.check(outcome.counts["exact"] == 2 * len(subject.asks), f"not all were exact: {dict(outcome.counts)}")


async def full_trace(subject: Subject, outcome: Outcome) -> None:
    """`EAH_TRACE` is on a full disk (`/dev/full`): answers and reports are as before, and the log says it once."""
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    outcome.check(outcome.counts["exact"] == len(subject.asks), f"not all were exact: {dict(outcome.counts)}")
    said = subject.server.log().count("EAH_TRACE stops")
    outcome.check(said == 1, f"the log says {said} times that the trace stops")
