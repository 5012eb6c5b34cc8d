"""Clients that take their time: to send, to read. Others must not notice, and nobody may stall for ever."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

from tests.faults.asks import Ask
from tests.faults.http import Connection, Reply, encode, request_head
from tests.faults.outcome import ANSWER_SECONDS, Outcome, Subject
from tests.faults.server import SECONDS_TO_END, refusals

CLIENT_SECONDS = 3
"""`client_timeout` of the server under test."""
MARGIN = 10
"""On top of a time-out, for a busy machine."""
EVERY_TOKEN = 500
"""Of the vocabulary of 512, nearly; `--max-logprobs` of the server under test."""


async def slow_body(subject: Subject, outcome: Outcome) -> None:
    """One client sends a byte a second, one stops in the middle: both get 408, the others their answers."""
    data = json.dumps(subject.asks[0].body).encode()
    before = refusals(subject.server, "slow_body")
    dripping, stopped = await Connection.open(subject.port), await Connection.open(subject.port)
    for connection in (dripping, stopped):
        connection.send(request_head(len(data)) + data[:1000])
    started = time.monotonic()
    drip = asyncio.create_task(_drip(dripping, data[1000:]))
    replies = [asyncio.create_task(_timed_reply(connection, started)) for connection in (dripping, stopped)]
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    for found, way in zip(await asyncio.gather(*replies), ("a byte a second", "stopped"), strict=True):
        reply, seconds = found
        outcome.facts[f"seconds to 408, {way}"] = seconds
        outcome.counts[f"status {reply.status}"] += 1
        error = (reply.json() or {}).get("error") or {}
        outcome.check(reply.status == 408 and "did not arrive" in error.get("message", ""), f"{way}: {reply}")
        outcome.check(seconds < CLIENT_SECONDS + MARGIN, f"{way}: answered after {seconds:.1f} s")
    drip.cancel()
    dripping.hang_up()
    stopped.hang_up()
    outcome.check(refusals(subject.server, "slow_body") == before + 2, "the counter did not count them")


async def _drip(connection: Connection, data: bytes) -> None:
    for byte in data:
        connection.send(bytes([byte]))
        await asyncio.sleep(1)


async def _timed_reply(connection: Connection, started: float) -> tuple[Reply, float]:
    try:
        async with asyncio.timeout(SECONDS_TO_END):
            return await connection.reply(), time.monotonic() - started
    except TimeoutError:
        return Reply(), time.monotonic() - started


async def slow_reader(subject: Subject, outcome: Outcome) -> None:
    """One client reads a byte a second of a large stream: it is cut off, and sees that; the others are answered."""
    server = subject.server
    before = refusals(server, "slow_reader")
    slow = await Connection.open(subject.port, receive_buffer=4096)
    slow.send(encode(_large(subject.asks[0])))
    taken = bytearray()
    reading = asyncio.create_task(_read_slowly(slow, taken))
    outcome.judge(await subject.ask_all(), subject.asks, subject.expected)
    deadline = time.monotonic() + ANSWER_SECONDS
    while refusals(server, "slow_reader") == before and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    outcome.check(refusals(server, "slow_reader") == before + 1, "it was not cut off")
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(MARGIN):
            taken += await slow.reader.read(-1)  # what was on its way
    outcome.counts["cut off"] += 1
    outcome.facts["bytes that it got"] = len(taken)
    outcome.check(taken.startswith(b"HTTP/1.1 200"), "its answer never began")
    outcome.check(not taken.endswith(b"0\r\n\r\n"), "it got a complete answer: this was not what the test is about")
    slow.hang_up()


def _large(one: Ask) -> dict[str, object]:
    """An answer of megabytes, larger than what fits between two sockets: the log-probability of every token."""
    long = {"stream": True, "max_tokens": 200, "ignore_eos": True}
    return one.body | long | {"logprobs": True, "top_logprobs": EVERY_TOKEN, "eah": False}


async def _read_slowly(connection: Connection, taken: bytearray) -> None:
    while byte := await connection.reader.read(1):
        taken += byte
        await asyncio.sleep(1)
