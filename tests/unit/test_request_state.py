"""Counts and reports of requests whose numbers are still on their way from the device."""

from __future__ import annotations

from typing import Any

import torch

from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import EAHOptions
from eah_vllm.order import Order
from eah_vllm.settings import ModelShape, resolve
from eah_vllm.worker.intervention import Intervention
from eah_vllm.worker.request_state import LayerOutcome, RequestState

SHAPE = ModelShape(4, 8)
APPLIED = {"eah": {"applied": 1}}


class Copy:
    """Behaves as the event behind a copy from a GPU, which a CPU has not: passed when the test says so."""

    def __init__(self) -> None:
        self.passed = False
        self.may_wait = False

    def query(self) -> bool:
        return self.passed

    def synchronize(self) -> None:
        assert self.passed or self.may_wait, "somebody waited for the device"
        self.passed = True


def followed(name: str, *, tag: str | None = None, layers: tuple[int, ...] = (1,)) -> tuple[RequestState, list[Copy]]:
    """A request whose layers have run on the device; the copies of their numbers have not arrived."""
    settings = resolve(EAHOptions(layer=list(layers)), EAHOptions(), SHAPE)
    state, copies = RequestState(name, Order("eah", settings, tag), 20, (ImageSpan(2, 12),)), []
    for layer in layers:
        copies.append(Copy())
        copied: Any = copies[-1]
        state.outcomes[layer] = LayerOutcome(layer, 10, torch.tensor([3, 4, 4, 1]), copied)
    return state, copies


def test_a_running_request_is_counted_once_all_its_copies_have_arrived() -> None:
    eah, (state, copies) = Intervention(), followed("a", layers=(0, 2))
    eah.table.add(state)
    for copy in copies:
        assert eah.collect([]) == {"reports": {}, "outcomes": {}, "source_heads": [], "running": 1}
        copy.passed = True
    counted = {"reports": {}, "outcomes": APPLIED, "source_heads": [["eah", 0, 3, 1], ["eah", 2, 3, 1]], "running": 1}
    assert eah.collect([]) == counted
    eah.table.remove("a")
    assert eah.collect([]) == {"reports": {}, "outcomes": {}, "source_heads": [], "running": 0}


def test_a_request_that_ended_first_is_counted_later() -> None:
    eah, (state, (copy,)) = Intervention(), followed("a")
    eah.table.add(state)
    eah.table.remove("a")
    waits = eah.collect([])
    assert (waits["outcomes"], waits["running"]) == ({}, 1), "whoever polls must come back"
    copy.passed = True
    arrived = eah.collect([])
    assert (arrived["outcomes"], arrived["running"]) == (APPLIED, 0)
    assert eah.collect([])["outcomes"] == {}


def test_one_that_waits_holds_nobody_up() -> None:
    eah, (late, (copy,)), (early, (other,)) = Intervention(), followed("a"), followed("b")
    other.passed = True
    for state in (late, early):
        eah.table.add(state)
        eah.table.remove(state.req_id)
    assert eah.collect([])["outcomes"] == APPLIED
    copy.passed = True
    assert eah.collect([])["outcomes"] == APPLIED


def test_only_a_report_that_is_asked_for_waits_and_it_brings_the_count() -> None:
    eah, (state, (copy,)) = Intervention(), followed("a", tag="mine")
    eah.table.add(state)
    assert eah.collect(["another"])["reports"] == {}
    copy.may_wait = True
    collected = eah.collect(["mine"])
    assert collected["reports"]["mine"]["applied"]
    assert collected["outcomes"] == APPLIED


def test_an_abandoned_report_is_dropped_unread() -> None:
    eah, (state, (copy,)) = Intervention(), followed("a", tag="mine")
    eah.table.add(state)
    eah.table.remove("a")
    assert eah.collect([], ["mine", "unknown"])["reports"] == {}
    copy.passed = True
    collected = eah.collect(["mine"])
    assert (collected["reports"], collected["outcomes"]) == ({}, APPLIED)


def test_a_preempted_request_is_counted_once() -> None:
    """Model Runner V2 forgets it and adds it again; its numbers may arrive in between."""
    eah, (state, (copy,)) = Intervention(), followed("a", tag="mine")
    eah.table.add(state)
    eah.table.remove("a")
    again, _ = followed("a", tag="mine")
    again.outcomes.clear()
    eah.table.add(again)
    copy.passed = True
    assert eah.collect([])["outcomes"] == APPLIED
    eah.table.remove("a")
    assert eah.collect(["mine"])["outcomes"] == {}
