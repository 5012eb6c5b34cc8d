"""Tensor parallel 2 = 1, Model Runner V2 = V1, compiled = eager; with `prefix_reuse`, and traced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import IMAGE_PROMPT, TENSOR_PARALLEL_2, make_llava, random_image
from tests.engine.asks import EAH, mixed_asks
from tests.engine.driver import V2_PYTHON, Answer, Ask, Engine


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


def second_questions() -> list[Ask]:
    """About the same images, so that the image is read from the cache."""
    asks = tagged()
    for ask in asks:
        ask.prompt = ask.prompt.replace("in detail", "in one short line, please")
    return [ask for ask in asks if ask.images]


THRESHOLDS = {"thresholds": [0.02], "relative_thresholds": [1.0, 1.5], "report": 1}


def inspections() -> list[Ask]:
    """Of heads that lie on either rank under tensor parallelism, with EAH and ordinary requests beside them."""
    ways = [{"layer": 1, "head": 1}, {"layer": 2, "head": 6}, {"relative_thresholds": [2.0]}]
    looks = [Ask(IMAGE_PROMPT, [random_image(40)], THRESHOLDS | way, 1, method="inspect") for way in ways]
    for idx, look in enumerate(looks):
        look.eah = (look.eah or {}) | {"tag": f"look-{idx}"}
    beside = [None, EAH | {"report": 1, "tag": "beside"}]
    return [*looks, *(Ask(IMAGE_PROMPT, [random_image(40)], eah, 1) for eah in beside)]


@dataclass
class Run:
    answers: list[Answer]
    reports: list[dict[str, Any]]
    inspected: list[dict[str, Any]]
    trace: list[dict[str, Any]]


def run(engine: Engine, trace: Path) -> Run:
    answers, reports = [], []
    for asks in (tagged(), second_questions()):
        answers += engine.generate(asks)
        collected = engine.collect(*(f"ask-{idx}" for idx in range(len(asks))))["reports"]
        reports += [collected[tag] for tag in sorted(collected)]
    answers += engine.generate(inspections())
    looked = engine.collect("look-0", "look-1", "look-2", "beside")["reports"]
    reports.append(looked.pop("beside"))
    inspected = [layer for tag in sorted(looked) for layer in looked[tag]["layers"]]
    engine.one("USER: Hello. ASSISTANT:", [], max_tokens=1)  # workers hear of finished requests with the next step
    assert engine.collect()["running"] == 0
    return Run(answers, reports, inspected, [json.loads(line) for line in trace.read_text().splitlines()])


def options(trace: Path) -> dict[str, Any]:
    return {"additional_config": {"eah": {"prefix_reuse": True}}, "env": {"EAH_TRACE": str(trace)}}


def with_env(options: dict[str, Any], **env: str) -> dict[str, Any]:
    return options | {"env": options["env"] | env}


@pytest.fixture(scope="module")
def expected(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    trace = tmp_path_factory.mktemp("trace") / "trace"
    with Engine(checkpoint, **options(trace)) as engine:
        return run(engine, trace)


def assert_same(got: Run, expected: Run) -> None:
    assert got.reports == expected.reports
    assert len(got.reports) == sum(ask.eah is not None for ask in tagged() + second_questions()) + 1
    assert len(got.inspected) == 9
    for found, wanted in zip(got.inspected, expected.inspected, strict=True):
        assert found.get("received", []) == pytest.approx(wanted.get("received", []), rel=1e-3, abs=1e-7)
        assert found | {"received": None} == wanted | {"received": None}
    for one, other in zip(got.answers, expected.answers, strict=True):
        assert one.tokens == other.tokens
        assert one.first_logprobs == pytest.approx(other.first_logprobs, abs=1e-3)
        assert one.cached_tokens == other.cached_tokens


def without(trace: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Trace lines without what differs between engines, in one order."""
    lines = [{name: value for name, value in line.items() if name not in ("request", *names)} for line in trace]
    return sorted(lines, key=lambda line: json.dumps(line, sort_keys=True))


def test_trace_says_what_the_reports_say(expected: Run) -> None:
    """One line per layer that was changed, of first questions and of second ones."""
    reported = [entry for report in expected.reports for entry in report["layers"] if entry["head"] is not None]
    key = ("layer", "head", "sinks")
    assert sorted([line[name] for name in key] for line in expected.trace) == sorted(
        [entry[name] for name in key] for entry in reported
    )
    assert {line["reused"] for line in expected.trace} == {False, True}
    for line in expected.trace:
        start, stop = line["spans"][0]
        assert stop - start == TENSOR_PARALLEL_2.num_image_tokens
        assert (line["rows"][0] > 0) == line["reused"]
        assert line["rows"][1] > stop
        assert (line["runner"], line["rank"]) == ("V1", 0)


def test_second_questions_read_the_cache(expected: Run) -> None:
    seconds = expected.answers[len(tagged()) : -len(inspections())]
    assert all(answer.cached_tokens > 0 for answer in seconds)


def test_an_inspection_reads_every_layer(expected: Run) -> None:
    """Its source heads lie on both ranks, or the test of tensor parallelism would prove little."""
    layers = expected.inspected
    assert [layer["layer"] for layer in layers] == [0, 1, 2] * 3
    assert [layer["layer"] for layer in layers if "received" in layer] == [1, 2]
    assert len({tuple(map(tuple, layer["sinks"])) for layer in layers[:3]}) == 3
    sources = {head for layer in layers for head in layer["source_head"]}
    assert {head // (TENSOR_PARALLEL_2.num_heads // 2) for head in sources if head is not None} == {0, 1}


def test_tensor_parallel_2_equals_1(checkpoint: Path, tmp_path: Path, expected: Run) -> None:
    """Heads are sharded; the source head is the best of all ranks, and its map reaches every rank."""
    heads = {layer["head"] for report in expected.reports for layer in report["layers"]}
    ranks = {head // (TENSOR_PARALLEL_2.num_heads // 2) for head in heads if head is not None}
    assert ranks == {0, 1}, f"source heads {heads} all live on one rank; the test would prove little"
    trace = tmp_path / "trace"
    with Engine(
        checkpoint, tensor_parallel_size=2, **with_env(options(trace), VLLM_CPU_OMP_THREADS_BIND="0|1")
    ) as engine:
        got = run(engine, trace)
    assert_same(got, expected)
    for rank in (0, 1):
        lines = [line for line in got.trace if line["rank"] == rank]
        assert without(lines, "rank") == without(expected.trace, "rank")


def test_model_runner_v2_equals_v1(checkpoint: Path, tmp_path: Path, expected: Run) -> None:
    """V2 is vLLM's default on GPUs; here it runs through the Triton interpreter."""
    trace = tmp_path / "trace"
    environment = {"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"}
    with Engine(checkpoint, python=V2_PYTHON, **with_env(options(trace), **environment)) as engine:
        got = run(engine, trace)
        assert "Using V2 Model Runner" in engine.log()
    assert_same(got, expected)
    assert {line["runner"] for line in got.trace} == {"V2"}
    assert without(got.trace, "runner") == without(expected.trace, "runner")


def test_compiled_equals_eager(checkpoint: Path, tmp_path: Path, expected: Run) -> None:
    """vLLM compiles by default; the other tests do not, to start sooner."""
    trace = tmp_path / "trace"
    with Engine(checkpoint, enforce_eager=False, **options(trace)) as engine:
        assert "backend': 'inductor'" in engine.log()
        assert_same(run(engine, trace), expected)
