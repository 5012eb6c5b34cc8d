"""Ends of a server: told to, told twice, or because a process of it was killed."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from pathlib import Path

from tests.faults.asks import make_asks
from tests.faults.http import Connection, Reply, get, request_head
from tests.faults.outcome import Begun, Outcome, Subject, ask_all
from tests.faults.server import SECONDS_TO_END

DEATH_SECONDS = 30
"""After a process of it was killed, the server has ended by then."""
AT_ONCE_SECONDS = 20
"""After a second signal, by then."""
AFTER_ANSWERS_SECONDS = 15
"""After the last answer of a drain, by then."""


async def drain(subject: Subject, outcome: Outcome) -> None:
    """SIGTERM under load: what is under way is answered exactly, what is new is refused, the exit status is 0."""
    server = subject.server
    task = await _begin(subject)
    server.remember()
    server.tell(signal.SIGTERM)
    outcome.check(await server.no_longer_healthy(), "/health still says 200")
    late = [reply for reply in await ask_all(subject.port, make_asks(4)) if reply is not None]
    refused = [reply.status == 0 or (reply.status == 503 and "retry-after" in reply.headers) for reply in late]
    outcome.check(refused == [True] * 4, f"new requests got {[reply.status for reply in late]}")
    outcome.counts["new ones refused"] += sum(refused)
    outcome.judge(await task, subject.asks, subject.expected)
    outcome.check(outcome.counts["exact"] == len(subject.asks), f"not all were answered: {dict(outcome.counts)}")
    await _ended(subject, outcome, time.monotonic(), wanted_status=0, seconds=AFTER_ANSWERS_SECONDS)


async def second_signal(subject: Subject, outcome: Outcome) -> None:
    """SIGTERM, then SIGINT while it waits: it ends at once, and every client sees that."""
    server = subject.server
    task = await _begin(subject)
    server.remember()
    server.tell(signal.SIGTERM)
    outcome.check(await server.no_longer_healthy(), "/health still says 200")
    started = time.monotonic()
    server.tell(signal.SIGINT)
    outcome.judge(await task, subject.asks, subject.expected, torn_down=True)
    outcome.check(outcome.counts["broken"] > 0, "all was over before: this was not what the test is about")
    await _ended(subject, outcome, started, wanted_status=0, seconds=AT_ONCE_SECONDS)


async def engine_killed(subject: Subject, outcome: Outcome) -> None:
    """SIGKILL to the engine in the middle of streams, while another client stalls and one fetches a report."""
    await _killed(subject, outcome, "EngineCore")


async def killed_as_reports_are_fetched(subject: Subject, outcome: Outcome) -> None:
    """SIGKILL to the engine after the last token of answers, while they wait for their reports."""
    server = subject.server
    with tempfile.TemporaryDirectory() as folder:
        sign = Path(folder, "waiting")
        status, body = server.post("/collective_rpc", {"method": "hold_reports", "args": [str(sign)]})
        assert status == 200, body
        task = asyncio.create_task(subject.ask_all())
        deadline = time.monotonic() + SECONDS_TO_END
        while not sign.exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        outcome.check(sign.exists(), "no report was waited for: this was not what the test is about")
    server.remember()
    victim, started = server.titled("EngineCore"), time.monotonic()
    victim.kill()
    outcome.judge(await task, subject.asks, subject.expected)
    outcome.facts["seconds to the last error"] = time.monotonic() - started
    outcome.check(outcome.counts["broken"] > 0, f"nothing broke: {dict(outcome.counts)}")
    await _ended(subject, outcome, started, wanted_status=1, seconds=DEATH_SECONDS)


async def worker_killed(subject: Subject, outcome: Outcome) -> None:
    """SIGKILL to one of two tensor-parallel workers in the middle of streams."""
    # vLLM's workers on a CPU share memory by name; one that is killed leaves it behind (docs/operations.md).
    await _killed(subject, outcome, "Worker_TP1", may_leave="/dev/shm/vllm_dist_")


async def _killed(subject: Subject, outcome: Outcome, title: str, *, may_leave: str | None = None) -> None:
    server = subject.server
    stalled = await Connection.open(subject.port)
    stalled.send(request_head(1000) + b"{")
    task = await _begin(subject)
    server.remember()
    victim = server.titled(title)
    started = time.monotonic()
    victim.kill()
    outcome.judge(await task, subject.asks, subject.expected)
    outcome.facts["seconds to the last error"] = time.monotonic() - started
    outcome.check(outcome.counts["broken"] > 0, "all was over before: this was not what the test is about")
    outcome.check(await server.no_longer_healthy(), "/health still says 200")
    outcome.facts["seconds to /health not 200"] = time.monotonic() - started
    await _ended(subject, outcome, started, wanted_status=1, seconds=DEATH_SECONDS, may_leave=may_leave)
    stalled.hang_up()


async def bounded_drain(subject: Subject, outcome: Outcome) -> None:
    """SIGTERM while a client stalls for longer than `--shutdown-timeout`: the server ends all the same."""
    data = json.dumps(subject.asks[0].body).encode()
    stalled = await Connection.open(subject.port)
    stalled.send(request_head(len(data)) + data[:1000])
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    subject.server.remember()
    started = time.monotonic()
    subject.server.tell(signal.SIGTERM)
    reply = await stalled.reply()
    outcome.check(not reply.complete or reply.status >= 400, f"the stalled one got {reply}")
    await _ended(subject, outcome, started, wanted_status=0)
    stalled.hang_up()


async def _begin(subject: Subject) -> asyncio.Task[list[Reply | None]]:
    """Every ask on its way, and every stream begun; those that do not stream were sent before the streams."""
    begun = Begun(sum(one.stream for one in subject.asks))
    task = asyncio.create_task(subject.ask_all(begun))
    await begun.wait()
    return task


async def _ended(
    subject: Subject,
    outcome: Outcome,
    started: float,
    *,
    wanted_status: int,
    seconds: float = SECONDS_TO_END,
    may_leave: str | None = None,
) -> None:
    status = await subject.server.ended()
    took = outcome.facts["seconds to the end"] = time.monotonic() - started
    outcome.check(status == wanted_status, f"exit status {status}, not {wanted_status}")
    outcome.check(took <= seconds, f"it took {took:.1f} s to end")
    outcome.check((await get(subject.port, "/health")).status == 0, "something still answers")
    left = await subject.server.left_over()
    if may_leave is not None:
        outcome.facts[f"{may_leave}* left"] = float(sum(name.startswith(may_leave) for name in left))
        left = [name for name in left if not name.startswith(may_leave)]
    outcome.check(not left, f"left behind: {left}")
