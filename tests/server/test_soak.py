"""A real server under load: clients that go away, and a small soak. `make soak` runs the soak at its full size."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.asks import Sending, long_prompts
from tests.soak.check import differences
from tests.soak.client import Answer, send_all
from tests.soak.counts import left_over, miscounts
from tests.soak.result import Expected, count, mixed_up, render
from tests.soak.run import one_by_one, soak
from tests.soak.server import InspectedServer, StockServer, both_servers

REQUESTS, CONCURRENCY, MAX_ROUNDS = 60, 8, 30


@pytest.fixture(scope="module")
def servers(unusual_checkpoint: Path) -> Iterator[tuple[InspectedServer, StockServer]]:
    with both_servers(unusual_checkpoint) as servers:
        yield servers


@pytest.fixture(scope="module")
def expected(servers: tuple[InspectedServer, StockServer]) -> Expected:
    asks = long_prompts(CONCURRENCY)
    ours, stock = one_by_one(servers[0], asks), one_by_one(servers[1], asks, eah=False)
    for answer, other in zip(ours, stock, strict=True):
        assert answer is not None and other is not None  # noqa: PT018
        assert answer.report is not None and answer.report["applied"]  # noqa: PT018
        assert differences(answer, other, with_report=False), "EAH had no effect here"
    return ours


def test_a_worker_has_no_processor_of_ours(servers: tuple[InspectedServer, StockServer]) -> None:
    """With one, vLLM keeps every request's tokens at hand at each step, and waits for them; admission needs none."""
    status, body = servers[0].post("/collective_rpc", {"method": "custom_processors"})
    assert status == 200, body
    assert json.loads(body)["results"] == [[[], False]]


@pytest.mark.parametrize(
    ("stream", "hang_up"), [(True, 0), (False, 0), (True, 4)], ids=["before a token", "not a stream", "decode"]
)
def test_clients_that_go_away_disturb_nobody(
    servers: tuple[InspectedServer, StockServer], expected: Expected, stream: bool, hang_up: int
) -> None:
    """Every second of eight clients goes away: in the queue, while its prompt is computed, or while it is answered."""
    server, asks = servers[0], long_prompts(CONCURRENCY)
    one_round = [Sending(idx, "field", stream, True, hang_up if idx % 2 == 0 else None) for idx in range(CONCURRENCY)]
    before = server.outcomes()
    plan: list[Sending] = []
    answers: list[Answer] = []
    seen = False
    for _ in range(MAX_ROUNDS):
        plan += one_round
        answers += asyncio.run(send_all(server, asks, one_round, CONCURRENCY))
        assert left_over(server) == []
        wrong, counted = miscounts(server, before, asks, plan, answers, expected)
        assert wrong == []
        gone = sum(not answer.finished for answer in answers)
        begun = sum(counted.values()) - (len(plan) - gone)
        # Before the first token: some while their prompts were computed, others in the queue.
        seen = 0 < begun < gone if stream and not hang_up else begun > 0
        if seen and len(plan) >= 3 * CONCURRENCY:
            break
    assert seen, f"of {gone} that went away, {begun} were computed: this was not what the test is about"
    assert gone == len(plan) // 2 or not stream
    for sending, answer in zip(plan, answers, strict=True):
        wanted = expected[sending.ask]
        assert wanted is not None
        assert differences(answer, wanted, with_report=True) == []
        assert answer.finished or sending.hang_up is not None


def test_clients_that_go_away_as_their_report_is_fetched(
    servers: tuple[InspectedServer, StockServer], expected: Expected
) -> None:
    """The last token of two waits for the report; whoever leaves then must not take counts with them."""
    server = servers[0]
    asks = [dataclasses.replace(ask, max_tokens=2) for ask in long_prompts(CONCURRENCY)]
    plan = [Sending(idx % len(asks), "field", True, True, hang_up=1) for idx in range(5 * len(asks))]
    before = server.outcomes()
    answers = asyncio.run(send_all(server, asks, plan, CONCURRENCY))
    assert left_over(server) == []
    assert miscounts(server, before, asks, plan, answers, expected) == ([], {"applied": len(plan)})


def test_soak(servers: tuple[InspectedServer, StockServer]) -> None:
    soaked = soak(*servers, REQUESTS, CONCURRENCY, seed=0)
    rows, wrong = count(soaked, soaked.expected)
    sys.stdout.write(render(soaked, rows, wrong))
    assert soaked.problems == []
    assert wrong == []
    total = rows["all"]
    assert total["sent"] == REQUESTS == total["finished"] + total["refused"] + total["aborted"]
    assert total["finished"] > REQUESTS // 2
    assert total["refused"] > 0
    assert total["aborted"] > 0
    assert soaked.facts["prefix_cache_hits"] > 0, "plain requests shared nothing; isolation was not tested"

    rows, _ = count(soaked, mixed_up(soaked.expected))
    assert rows["all"]["equal"] == 0, "the check takes a wrong answer for the right one"
