"""The runner of the check for GPU machines: a phase that fails or does not end costs itself alone, and says so."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import pytest

from bench.gpu.__main__ import Run
from bench.gpu.plan import Phase

GOOD = Phase("good", ("this",), 60)
BAD = Phase("bad", ("no_such_module",), 60)
ENDLESS = Phase("endless", ("timeit", "-n", "1", "while True: pass"), 1)


def test_no_phase_stops_the_next(tmp_path: Path) -> None:
    run = Run(tmp_path / "work", tmp_path / "out", time.time(), rehearse=False)
    run.group([BAD], 1)
    run.group([ENDLESS, GOOD], 2)
    back = json.loads((tmp_path / "out" / "gpu.json").read_text())
    outcomes = {name: phase["outcome"] for name, phase in back["phases"].items()}
    assert outcomes == {"bad": "rc 1", "endless": "stopped after 1 s", "good": "rc 0"}
    with tarfile.open(tmp_path / "out" / "logs.tar.gz") as logs:
        assert {"logs/bad.log", "logs/endless.log", "logs/good.log"} <= set(logs.getnames())
        log = logs.extractfile("logs/bad.log")
        assert log is not None
        assert b"No module named no_such_module" in log.read()


def test_a_second_call_adds_to_the_first(tmp_path: Path) -> None:
    for phase in (BAD, GOOD):
        run = Run(tmp_path / "work", tmp_path / "out", time.time(), rehearse=False)
        run.group([phase], 1)
    assert list(json.loads((tmp_path / "out" / "gpu.json").read_text())["phases"]) == ["bad", "good"]


def test_what_the_budget_does_not_hold_is_left_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.gpu.__main__.BUDGET", 0)
    run = Run(tmp_path / "work", tmp_path / "out", time.time(), rehearse=False)
    run.group([GOOD], 1)
    assert run.write()["phases"] == {"good": {"outcome": "left out, no time", "seconds": 0.0}}
