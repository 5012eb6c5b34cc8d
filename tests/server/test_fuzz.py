"""Hostile requests against one real server, a part of `make fuzz`; and that its checks find what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator

import pytest

from tests.fuzz.case import Case, as_json, chat, show
from tests.fuzz.corpus import LARGE, choose, corpus
from tests.fuzz.good import Reference, ask
from tests.fuzz.pictures import png, url
from tests.fuzz.result import render
from tests.fuzz.run import one, prepare, run
from tests.fuzz.schema import check_schema
from tests.fuzz.target import Target
from tests.fuzz.watch import Silent, Trap, log_violations
from tests.soak.server import FEW_KERNELS
from tools.serving import Server

COUNT, EXAMPLES = 250, 2


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with Server([], env=FEW_KERNELS) as server:
        yield Target.of(server)


def test_corpus_is_large_and_the_same_every_time() -> None:
    names = [case.name for case in corpus(1, 2)]
    assert len(names) >= 200
    assert names == [case.name for case in corpus(1, 2)]
    first, second = (choose(corpus(1, 2), COUNT, seed=0) for _ in range(2))
    assert [case.name for case in first] == [case.name for case in second]
    assert {case.category for case in first} == {case.category for case in corpus(1, 2)}


def test_hostile_requests(target: Target) -> None:
    with Trap() as trap, Silent() as silent:
        written = corpus(trap.port, silent.port)
        small = [case for case in written if case.category not in LARGE]
        large = [case for case in written if case.category in LARGE]
        cases = choose(small, COUNT - 12, seed=0) + choose(large, 12, seed=0)
        fuzz = run(target, (trap, silent), cases)
    sys.stdout.write(render(fuzz))
    assert len(fuzz.outcomes) == len(cases)
    assert fuzz.violations() == []


def test_no_operation_of_the_document_answers_500(target: Target) -> None:
    found = check_schema(target, EXAMPLES, seed=0)
    sys.stdout.write(f"{found.facts}\n")
    assert found.facts["schemathesis operations"] > 15
    assert found.facts["schemathesis requests"] > 30
    assert found.violations == []


class TestChecksFindWhatIsWrong:
    """A run without violations means something only if these would have been violations."""

    @pytest.fixture(scope="class")
    def prepared(self, target: Target) -> tuple[Reference, str]:
        return prepare(target)

    @staticmethod
    def found(target: Target, prepared: tuple[Reference, str], case: Case, good: Reference | None = None) -> list[str]:
        target.new_log()
        return one(target, case, good or prepared[0], prepared[1], "off", target.memory(), 0.0).violations

    def test_nothing(self, target: Target, prepared: tuple[Reference, str]) -> None:
        bad = Case("bad", "x", as_json(chat(eah={"layer": 99})), mentions=("layer",))
        found = self.found(target, prepared, bad)
        assert [line for line in found if "MiB" not in line] == []

    @pytest.mark.parametrize(
        ("case", "said"),
        [
            (Case("taken", "x", as_json(chat())), "200 instead of 400"),
            (Case("refused", "x", as_json(chat(eah={"layer": 99})), (200,)), "400 instead of 200"),
            (Case("unclear", "x", as_json(chat(eah={"layer": 99})), mentions=("elephant",)), "names none of"),
            (Case("cut", "x", b"GET /health HTTP/1.1\r\nHost: HOST\r\n", raw=True, half=True), "None instead of 400"),
            (Case("no JSON", "x", b"GET /health HTTP/1.1\r\nA B: c\r\n\r\n", raw=True), "no error message"),
            (
                Case("other picture", "x", as_json(show(url(png()), "is there a dog ?")), (200,), same_answer=True),
                "shows the good",
            ),
        ],
        ids=lambda value: value.name if isinstance(value, Case) else "",
    )
    def test_answers(self, target: Target, prepared: tuple[Reference, str], case: Case, said: str) -> None:
        assert any(said in line for line in self.found(target, prepared, case))

    def test_the_next_good_request(self, target: Target, prepared: tuple[Reference, str]) -> None:
        answers = prepared[0].answers
        swapped = dataclasses.replace(prepared[0], answers={"off": answers["on"], "on": answers["off"]})
        found = self.found(target, prepared, Case("bad", "x", b"{}"), swapped)
        assert any("the next good request (off)" in line for line in found)
        assert prepared[0].check("off", target.ask(ask("on")))

    def test_time_and_memory(self, target: Target, prepared: tuple[Reference, str]) -> None:
        memory = target.memory()
        assert memory is not None
        memory.forget_peak()
        before = memory.peak()
        target.ask(Case("large", "x", as_json(chat(user="x" * (20 << 20)))))
        assert memory.peak() - before > 15, "twenty million letters left no trace"
        assert memory.lost() == frozenset()
        memory.pids |= {2**22 + 1}
        assert memory.lost() == {2**22 + 1}

    def test_the_log(self) -> None:
        ours = 'Traceback (most recent call last):\n  File "/a/eah_vllm_server/routes.py", line 3, in f\nKeyError: 1\n'
        theirs = ours.replace("KeyError", '  File "/a/vllm/engine.py", line 9, in g\nKeyError')
        assert log_violations(ours)
        assert log_violations("Exception in ASGI application\n")
        assert log_violations(theirs) == []

    def test_a_visitor(self) -> None:
        import urllib.request

        with Trap() as trap:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{trap.port}", timeout=5)
            assert trap.visits == 1
