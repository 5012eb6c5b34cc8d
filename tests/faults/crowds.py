"""More clients than can be served at once, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from tests.faults.http import Connection, Reply, encode, get
from tests.faults.outcome import ANSWER_SECONDS, Outcome, Subject, ask_all
from tests.faults.server import SECONDS_TO_END, more_files, refusals
from tests.soak.server import SECONDS_TO_ZERO

MANY = 1000
STORM = 240


async def idle_connections(subject: Subject, outcome: Outcome) -> None:
    """1,000 connections on which nothing is sent: the others are answered."""
    more_files([MANY])
    idle = list(await asyncio.gather(*(Connection.open(subject.port) for _ in range(MANY))))
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    outcome.counts["idle"] += len(idle)
    for connection in idle:
        connection.hang_up()


async def thousand_requests(subject: Subject, outcome: Outcome) -> None:
    """1,000 real requests at once: answered exactly or refused, none hung."""
    more_files([MANY])
    rounds = -(-MANY // len(subject.asks))
    asks, expected = (subject.asks * rounds)[:MANY], (subject.expected * rounds)[:MANY]
    before, started = refusals(subject.server, "queue_full"), time.monotonic()
    outcome.judge(await ask_all(subject.port, asks), asks, expected)
    outcome.facts["seconds"] = time.monotonic() - started
    outcome.check(outcome.counts["broken"] == 0, "an answer broke")
    outcome.check(outcome.counts["exact"] > 0, "nobody was answered")
    refused = refusals(subject.server, "queue_full") - before
    outcome.check(refused == outcome.counts["refused"], f"the counter counted {refused:g} refusals")
    outcome.check((await get(subject.port, "/health")).status == 200, "the server is ill afterwards")


async def full_queue(subject: Subject, outcome: Outcome) -> None:
    """More requests than `--max-num-queued-reqs`: 503 for the rest, streams too; who comes back is answered."""
    server = subject.server
    before = refusals(server, "queue_full")
    with tempfile.TemporaryDirectory() as folder:
        held, release = Path(folder, "held"), Path(folder, "release")
        # Nobody is answered for now: on a busy machine the first could be done before the last is sent.
        hold = {"method": "hold_engine", "args": [str(held), str(release)]}
        holding = asyncio.create_task(asyncio.to_thread(server.post, "/collective_rpc", hold))
        while not held.exists() and not holding.done():
            await asyncio.sleep(0.01)
        asking = asyncio.create_task(subject.ask_all())
        while not asking.done() and await asyncio.to_thread(refusals, server, "queue_full") == before:
            await asyncio.sleep(0.05)
        release.touch()
        outcome.judge(await asking, subject.asks, subject.expected)
        status, body = await holding
        outcome.check(status == 200, f"the engine was not held: {status} {body}")
    outcome.check(outcome.counts["refused"] > 0, "the queue was never full: this was not what the test is about")
    outcome.check(outcome.counts["exact"] > 0, "nobody was answered")
    outcome.check(outcome.counts["broken"] == 0, "an answer broke")
    counted = refusals(subject.server, "queue_full") - before
    outcome.check(counted == outcome.counts["refused"], f"the counter counted {counted:g} refusals")
    again = await asyncio.gather(*(_come_back(subject, idx) for idx in range(len(subject.asks))))
    late = Outcome(outcome.name)
    late.judge(again, subject.asks, subject.expected)
    outcome.counts["exact after Retry-After"] += late.counts["exact"]
    outcome.problems += late.problems
    outcome.check(late.counts["exact"] == len(subject.asks), f"not all were answered in the end: {dict(late.counts)}")


async def _come_back(subject: Subject, idx: int) -> Reply | None:
    """As a good client does: wait as long as the server says."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        reply = (await ask_all(subject.port, [subject.asks[idx]]))[0]
        if reply is None or reply.status != 503:
            return reply
        await asyncio.sleep(float(reply.headers["retry-after"]))
    return None


async def disconnect_storm(subject: Subject, outcome: Outcome) -> None:
    """240 clients leave: with half a request sent, right after it, as the answer begins. Nothing is left of them."""

    async def leave(idx: int) -> None:
        one = subject.asks[idx % len(subject.asks)]
        connection = await Connection.open(subject.port)
        whole = encode(one.body)
        if idx % 4 == 0:
            connection.send(whole[: len(whole) // 2])
            await connection.writer.drain()
        else:
            connection.send(whole)
            await connection.writer.drain()
            for _ in range(idx % 4 - 1):  # of chunks; an answer in one piece is left before it comes
                if one.stream:
                    await connection.reader.readuntil(b"\r\n\r\n")
        connection.hang_up()
        outcome.counts["left"] += 1

    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.gather(*(leave(idx) for idx in range(STORM)))
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    deadline = time.monotonic() + max(SECONDS_TO_ZERO, SECONDS_TO_END)
    while (held := _held(subject)) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    outcome.check(not held, f"left behind: {held}")


def _held(subject: Subject) -> dict[str, float]:
    """Worker state, reports nobody fetched, requests of the engine and of the gate that are not 0."""
    status, body = subject.server.post("/collective_rpc", {"method": "held_state"})
    assert status == 200, body
    held: dict[str, float] = dict(json.loads(body)["results"][0])
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        held[name] = subject.server.counter(name, engine="0", model_name="scenes")
    return {name: number for name, number in held.items() if number}
