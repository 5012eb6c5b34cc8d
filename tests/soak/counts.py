"""Whether a server is empty again, and its own counts agree with what the clients saw."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from tests.soak.asks import Ask, Sending
from tests.soak.client import Answer
from tests.soak.result import Expected
from tests.soak.server import SECONDS_TO_ZERO, InspectedServer


def left_over(server: InspectedServer) -> list[str]:
    """What the server still holds after the last request."""
    return [f"{name} is {number:g} after the last request" for name, number in server.wait_until_empty().items()]


def miscounts(
    server: InspectedServer,
    before: dict[str, float],
    asks: Sequence[Ask],
    plan: Sequence[Sending],
    answers: Sequence[Answer],
    expected: Expected,
) -> tuple[list[str], dict[str, float]]:
    """Where `eah_requests_total` is wrong, and what it counted, by outcome.

    Every request whose prompt was computed is counted. One whose client went away before the first token may have been
    in the queue.
    """
    certain: Counter[str] = Counter()
    possible: Counter[str] = Counter()
    for sending, answer in zip(plan, answers, strict=True):
        wanted = expected[sending.ask]
        if wanted is None or wanted.report is None:
            continue
        outcome = "applied" if wanted.report["applied"] else wanted.report["reason"]
        computed = answer.finished or all(choice.tokens for choice in answer.choices)
        (certain if computed else possible)[outcome] += asks[sending.ask].n
    counted = _settled(server, before, certain)
    wrong = []
    for outcome in sorted(counted.keys() | certain.keys()):
        least = certain[outcome]
        most = least + (possible.total() if outcome == "not_run" else possible[outcome])
        if not least <= counted.get(outcome, 0) <= most:
            wrong.append(f"eah_requests_total counts {counted.get(outcome, 0):g} {outcome}, not {least} to {most}")
    return wrong, counted


def _settled(server: InspectedServer, before: dict[str, float], least: Counter[str]) -> dict[str, float]:
    """Counts since `before`; they reach the HTTP process about a second after the request."""
    deadline = time.monotonic() + SECONDS_TO_ZERO
    while True:
        now = server.outcomes()
        counted = {name: number - before.get(name, 0) for name, number in now.items() if name != "refused"}
        if all(counted.get(name, 0) >= number for name, number in least.items()) or time.monotonic() > deadline:
            return counted
        time.sleep(0.2)
