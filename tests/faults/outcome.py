"""What a fault did: verdicts on every answer, and broken promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults.asks import Answer, Ask, verdict
from tests.faults.http import OnData, Reply, ask
from tests.faults.server import FaultServer

ANSWER_SECONDS = 240
"""No answer may take longer, whatever breaks; 1,000 at once on two cores take most of it."""


@dataclass(slots=True)
class Outcome:
    """Of one fault."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    """Answers by verdict: exact, refused, broken (the client sees an error), wrong, hung."""
    problems: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def check(self, kept: bool, problem: str) -> None:
        """A promise."""
        if not kept:
            self.problems.append(f"{self.name}: {problem}")

    def judge(
        self,
        replies: Iterable[Reply | None],
        asks: Iterable[Ask],
        expected: Iterable[Answer],
        *,
        torn_down: bool = False,
    ) -> None:
        """Count every reply; one that is wrong, or that never ended (None), breaks a promise.

        `torn_down`: the server was told not to wait, so an error may be plain text.
        """
        for reply, one, answer in zip(replies, asks, expected, strict=True):
            found = "hung" if reply is None else verdict(reply, one, answer, torn_down=torn_down)
            self.counts[found.partition(":")[0]] += 1
            self.check(found in ("exact", "refused", "broken"), found)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server, and what it answers when nothing is broken."""

    server: FaultServer
    asks: Sequence[Ask]
    expected: Sequence[Answer]

    @property
    def port(self) -> int:
        """Of the server."""
        return self.server.port

    async def ask_all(self, on_data: OnData | None = None) -> list[Reply | None]:
        """Every ask at once."""
        return await ask_all(self.port, self.asks, on_data)


Fault = Callable[[Subject, Outcome], Awaitable[None]]


async def ask_all(port: int, asks: Sequence[Ask], on_data: OnData | None = None) -> list[Reply | None]:
    """All at once; None for one that hangs."""

    async def one_reply(one: Ask) -> Reply | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await ask(port, one.body, on_data)
        except TimeoutError:
            return None

    return list(await asyncio.gather(*(one_reply(one) for one in asks)))


class Begun:
    """Waits until so many answers have begun: a fault then hits the middle of them."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._seen: set[int] = set()
        self._enough = asyncio.Event()

    def __call__(self, reply: Reply) -> None:
        """As `on_data`."""
        if reply.body:
            self._seen.add(id(reply))
        if len(self._seen) >= self._wanted:
            self._enough.set()

    async def wait(self) -> None:
        """Return when there are enough."""
        await asyncio.wait_for(self._enough.wait(), ANSWER_SECONDS)
