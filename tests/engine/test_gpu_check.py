"""The check for GPU machines (`bench/gpu`), packed without vLLM's CUDA wheel, unpacked and rehearsed: a short form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.plan import chosen, groups
from bench.gpu.summary import between_engines
from bench.gpu.tables import tables
from tests.engine.driver import ROOT, V2_PYTHON

PHASES = ("facts", "exact_gqa", "kernels")
NEEDS_A_GPU = {
    "facts": "vLLM's CUDA kernels",
    "exact_gqa_float32_eager": "no step waits for the GPU in the plugin's code",
    "kernels": "choosing and broadcasting waits for nothing",
}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The package's folder, and what came back."""
    folder = tmp_path_factory.mktemp("gpu")
    package = folder / "package"
    command = [sys.executable, "-m", "bench.gpu.package", "--no-vllm", "--models", "gqa", "--out", str(package)]
    subprocess.run(command, cwd=ROOT, check=True)
    environment = os.environ | {"PYTHON": V2_PYTHON, "WORK": str(folder / "work"), "OUT": str(folder / "out")}
    # From the package's own copy: it is all that the other machine needs to have.
    command = ["bash", str(package / "run.sh"), "--rehearse", *PHASES]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return package, json.loads((folder / "out" / "gpu.json").read_text())


def test_every_phase_ends_well(rehearsed: tuple[Path, dict[str, Any]]) -> None:
    package, back = rehearsed
    assert {name: phase["outcome"] for name, phase in back["phases"].items()} == dict.fromkeys(NEEDS_A_GPU, "rc 0")
    assert back["rehearsal"]
    assert back["commit"] == json.loads((package / "manifest.json").read_text())["commit"]


def test_what_needs_a_gpu_is_never_counted_as_passed(rehearsed: tuple[Path, dict[str, Any]]) -> None:
    for name, check in NEEDS_A_GPU.items():
        rows = {row["check"]: row["passed"] for row in rehearsed[1]["results"][name]["rows"]}
        assert rows.pop(check) is None
        assert all(passed is True for passed in rows.values())
        assert rows or name == "facts"


def test_the_engine_was_that_of_gpus_and_followed_the_references(rehearsed: tuple[Path, dict[str, Any]]) -> None:
    exact = rehearsed[1]["results"]["exact_gqa_float32_eager"]
    rows = {row["check"]: row for row in exact["rows"]}
    assert exact["runner"] == "V2"
    assert rows["EAH on = the reference"]["right"] == 6
    assert rows["a mixed batch of 16 = the reference"]["right"] == 16
    assert rows["EAH changes the answer where it is applied"]["of"] > 0
    assert rows["methods on generated rows = the reference, first and last token"]["right"] == 12
    assert (
        rows["the same in one batch with EAH and plain requests = the reference, first and last token"]["right"] == 12
    )
    assert rows["their reports are the reference's, in one batch"]["right"] == 12


def test_tables_are_made_of_what_a_gpu_computed_alone(rehearsed: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="rehearsal"):
        tables(rehearsed[1])
    made = tables(rehearsed[1] | {"rehearsal": False})
    assert "| kernels | choosing and broadcasting waits for nothing | not judged | there is no GPU |  |" in made
    assert "| S 40, heads 4/2 x 16 | choose and broadcast |" in made


def test_equal_garbage_of_the_stand_in_is_no_finding() -> None:
    answer = {"tokens": [1, 2], "logprobs": [[1, -0.5]]}
    found = {f"exact_gqa_bfloat16_{mode}": {"off": [answer], "on": [answer]} for mode in ("stock", "graphs", "eager")}
    assert [row["passed"] for row in between_engines(found, computed=False)] == [None, None]
    assert [row["passed"] for row in between_engines(found, computed=True)] == [True, None]
    found["exact_gqa_bfloat16_stock"]["off"] = [answer | {"logprobs": [[1, -0.25]]}]
    assert between_engines(found, computed=True)[0]["passed"] is False


def test_a_phase_is_asked_for_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    planned = groups(tmp_path, cpu=False, stand_in=False)
    wanted = chosen(planned, ["facts", "seven"])
    assert [[phase.name for phase in group] for group in wanted] == [["facts"], ["seven_b"]]
    with pytest.raises(ValueError, match="no phase begins with 'eight'; there are facts, exact_gqa"):
        chosen(planned, ["eight"])
