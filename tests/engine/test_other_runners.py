"""Tensor parallel 2 = 1, and Model Runner V2 = V1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import TENSOR_PARALLEL_2, make_llava
from tests.engine.asks import mixed_asks
from tests.engine.driver import ROOT, Answer, Ask, Engine

V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("shared"), TENSOR_PARALLEL_2)


def tagged() -> list[Ask]:
    asks = mixed_asks()
    for idx, ask in enumerate(asks):
        ask.max_tokens = 6
        if ask.eah is not None:
            ask.eah = ask.eah | {"report": 1, "tag": f"ask-{idx}"}
    return asks


def run(engine: Engine) -> tuple[list[Answer], dict[str, object]]:
    answers = engine.generate(tagged())
    return answers, engine.collect(*(f"ask-{idx}" for idx in range(len(answers))))["reports"]


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> Iterator[tuple[list[Answer], dict[str, object]]]:
    with Engine(checkpoint) as engine:
        yield run(engine)


def assert_same(got: tuple[list[Answer], dict[str, object]], expected: tuple[list[Answer], dict[str, object]]) -> None:
    assert got[1] == expected[1]
    assert len(got[1]) == sum(ask.eah is not None for ask in tagged())
    for one, other in zip(got[0], expected[0], strict=True):
        assert one.tokens == other.tokens
        assert one.first_logprobs == pytest.approx(other.first_logprobs, abs=1e-3)


def test_tensor_parallel_2_equals_1(checkpoint: Path, expected: tuple[list[Answer], dict[str, object]]) -> None:
    """Heads are sharded; the source head is the best of all ranks, and its map reaches every rank."""
    heads = {layer["head"] for report in expected[1].values() for layer in report["layers"]}  # type: ignore[index]
    ranks = {head // (TENSOR_PARALLEL_2.num_heads // 2) for head in heads if head is not None}
    assert ranks == {0, 1}, f"source heads {heads} all live on one rank; the test would prove little"
    with Engine(checkpoint, tensor_parallel_size=2, env={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}) as engine:
        assert_same(run(engine), expected)


def test_model_runner_v2_equals_v1(checkpoint: Path, expected: tuple[list[Answer], dict[str, object]]) -> None:
    """V2 is vLLM's default on GPUs; here it runs through the Triton interpreter."""
    environment = {"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"}
    with Engine(checkpoint, python=V2_PYTHON, env=environment) as engine:
        assert_same(run(engine), expected)
        assert "Using V2 Model Runner" in engine.log()
        assert engine.collect()["running"] == 0


def test_compiled_equals_eager(checkpoint: Path, expected: tuple[list[Answer], dict[str, object]]) -> None:
    """vLLM compiles by default; the other tests do not, to start sooner."""
    with Engine(checkpoint, enforce_eager=False) as engine:
        assert "backend': 'inductor'" in engine.log()
        assert_same(run(engine), expected)
