"""The most telling faults, one server for all of them; the last one ends it. `make faults` runs every fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults import crowds, ends, slow_clients
from tests.faults.asks import make_asks, references
from tests.faults.outcome import Fault, Outcome, Subject
from tests.faults.run import http_limits
from tests.faults.server import FaultServer

LIMIT = 6
"""Requests that the server takes at once; half of what is asked."""


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    patience = http_limits(client_timeout=slow_clients.CLIENT_SECONDS)
    with FaultServer(["--max-num-queued-reqs", str(LIMIT), *patience]) as server:
        asks = make_asks(2 * LIMIT, long=True)
        yield Subject(server, asks, asyncio.run(references(server.port, asks)))


def keeps(fault: Fault, subject: Subject) -> Outcome:
    outcome = Outcome(fault.__name__)
    asyncio.run(fault(subject, outcome))
    assert outcome.problems == []
    return outcome


def few(subject: Subject) -> Subject:
    """As many requests as are taken at once, less the one or two that a fault adds."""
    return Subject(subject.server, subject.asks[: LIMIT - 2], subject.expected[: LIMIT - 2])


def test_a_full_queue_refuses_and_answers(subject: Subject) -> None:
    keeps(crowds.full_queue, subject)


@pytest.mark.parametrize("fault", [slow_clients.slow_body, slow_clients.slow_reader])
def test_slow_clients_are_given_up_and_disturb_nobody(subject: Subject, fault: Fault) -> None:
    assert keeps(fault, few(subject)).counts["exact"] == LIMIT - 2


def test_nothing_is_left_of_clients_that_leave(subject: Subject) -> None:
    keeps(crowds.disconnect_storm, subject)


def test_told_to_end_under_load_it_answers_and_ends(subject: Subject) -> None:
    """Last: the server is gone afterwards."""
    assert keeps(ends.drain, few(subject)).counts["exact"] == LIMIT - 2
