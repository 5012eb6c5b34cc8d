"""VHR and CLVA on Model Runner V2 and under tensor parallel 2 = the references, also after a preemption."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import TENSOR_PARALLEL_2, make_llava
from tests.engine.driver import ROOT, Engine
from tests.engine.row_asks import ENABLED, assert_batch_equals_references, long_cases, mixed_cases

V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))
RUNNERS: dict[str, dict[str, Any]] = {
    "V2": {"python": V2_PYTHON, "env": {"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"}},
    "tensor parallel 2": {"tensor_parallel_size": 2, "env": {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}},
}
TIGHT = {"num_gpu_blocks_override": 23, "max_model_len": 224}
"""Blocks of 32 tokens: room for the long requests' prompts, and not for their answers."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("shared"), TENSOR_PARALLEL_2)


@pytest.fixture(scope="module", params=list(RUNNERS))
def engine(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[Engine]:
    with Engine(checkpoint, **ENABLED, **TIGHT, **RUNNERS[request.param]) as engine:
        assert ("Using V2 Model Runner" in engine.log()) == (request.param == "V2")
        yield engine


def test_a_mixed_batch_equals_the_references(engine: Engine, checkpoint: Path) -> None:
    assert_batch_equals_references(engine, checkpoint, mixed_cases())


def test_preempted_requests_equal_the_references(engine: Engine, checkpoint: Path) -> None:
    before = engine.metric("vllm:num_preemptions")
    assert_batch_equals_references(engine, checkpoint, long_cases())
    assert engine.metric("vllm:num_preemptions") > before, "nothing was preempted; the test proves nothing"
