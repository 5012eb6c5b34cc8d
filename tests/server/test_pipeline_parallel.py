"""Pipeline parallel 2, with `prefix_reuse`: each stage holds half of the layers; a request's layers may lie in both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import Geometry, make_llava, random_image
from tests.reference import reference_generate
from tests.rows_reference import rows_generate
from tools.serving import SMALL, Server, image_message

QUESTION = "Please describe this image in detail."
CHAT_PROMPT = f"USER: <image>\n{QUESTION} ASSISTANT:"
RELATIVE = {"relative_threshold": 1.5}
ASKED: list[dict[str, Any] | None] = [
    {"layer": 0} | RELATIVE,
    {"layer": 1} | RELATIVE,
    {"layer": 2} | RELATIVE,
    {"layer": 3} | RELATIVE,
    {"layer": [0, 2]} | RELATIVE,
    {"layer": [1, 2, 3], "relative_threshold": 1.0},
    {"layer": 2, "threshold": 0.9},
    None,
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("four_layers"), Geometry(num_layers=4, num_kv_heads=2, patch_size=16))


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    # On a CPU, vLLM 0.32 itself dies at the first request of two stages that nothing has warmed up.
    small = [argument for argument in SMALL if argument != "--enforce-eager"]
    arguments = [str(checkpoint), "--served-model-name", "tiny", *small, "--pipeline-parallel-size", "2"]
    methods = {"prefix_reuse": True, "methods": ["eah", "vhr", "clva"]}
    arguments += ["--additional-config", json.dumps({"eah": methods})]
    with Server(arguments, env={"VLLM_CPU_OMP_THREADS_BIND": "nobind"}) as server:
        yield server


def chat(server: Server, seed: int, eah: dict[str, Any] | None, question: str = QUESTION, **more: Any) -> Any:
    body = {"ignore_eos": True, "return_token_ids": True} | ({} if eah is None else {"eah": eah})
    asked: dict[str, Any] = {"temperature": 0, "max_tokens": 8} | more
    messages = image_message(random_image(seed), question)
    return server.client.chat.completions.create(model="tiny", messages=messages, extra_body=body, **asked)


def test_answers_and_reports_equal_the_reference(server: Server, checkpoint: Path) -> None:
    def ask(eah: dict[str, Any] | None) -> Any:
        return chat(server, 41, eah and eah | {"report": True})

    with ThreadPoolExecutor(len(ASKED)) as pool:
        answers = list(pool.map(ask, ASKED))
    assert len({tuple(answer.choices[0].token_ids) for answer in answers}) > 3, "EAH had little effect here"
    for eah, answer in zip(ASKED, answers, strict=True):
        expected = reference_generate(checkpoint, CHAT_PROMPT, [random_image(41)], eah, max_tokens=8)
        assert list(answer.choices[0].token_ids) == expected.tokens
        if eah is not None:
            assert answer.eah["applied"] == any(layer.applied for layer in expected.report)
            assert answer.eah["layers"] == [pytest.approx(layer.as_report()) for layer in expected.report]


def test_generated_rows_are_changed_in_both_stages(server: Server, checkpoint: Path) -> None:
    """Each stage keeps its part of the image-free pass; what goes from layer to layer cannot go from stage to stage."""
    asked: list[dict[str, Any]] = [
        {"vhr": {"layers": [1, 2], "factor": 2.0}},
        {"vhr": {"layers": [0, 3], "factor": 3.0}},
        {"vhr": {"layers": [3]}, "eah": {"layer": 1} | RELATIVE},
        {"clva": {}},
        {},
    ]

    def ask(methods: dict[str, dict[str, Any]]) -> Any:
        body = {name: said | {"report": True} for name, said in methods.items()}
        return server.client.chat.completions.create(
            model="tiny",
            messages=image_message(random_image(41), QUESTION),
            temperature=0,
            max_tokens=8,
            extra_body={"ignore_eos": True, "return_token_ids": True} | body,
        )

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(ask, asked))
    assert len({tuple(answer.choices[0].token_ids) for answer in answers}) > 3, "the methods had little effect here"
    for methods, answer in zip(asked, answers, strict=True):
        acting = {name: said for name, said in methods.items() if name != "clva"}
        expected = rows_generate(checkpoint, CHAT_PROMPT, [random_image(41)], acting, max_tokens=8)
        assert list(answer.choices[0].token_ids) == expected.tokens
        for name in acting:
            assert getattr(answer, name)["applied"]
    found = [[(layer["layer"], layer["heads"]) for layer in answer.vhr["layers"]] for answer in answers[:2]]
    assert [[layer for layer, _ in of_answer] for of_answer in found] == [[1, 2], [0, 3]]
    assert answers[3].clva == {"applied": False, "reason": "layers_apart", "layers": []}


def test_an_inspection_has_the_layers_of_both_stages(server: Server, checkpoint: Path) -> None:
    thresholds = {"relative_thresholds": [1.5], "thresholds": [0.9], "layer": 3, "head": 6}
    body = {"model": "tiny", "messages": image_message(random_image(41), QUESTION), "eah": thresholds}
    status, answer = server.post("/v1/eah/inspect", body)
    assert status == 200, answer
    found = json.loads(answer)
    assert [layer["layer"] for layer in found["layers"]] == [0, 1, 2, 3]
    for layer in found["layers"]:
        eah = {"layer": layer["layer"]} | RELATIVE
        (expected,) = reference_generate(checkpoint, CHAT_PROMPT, [random_image(41)], eah, max_tokens=1).report
        assert layer["source_head"] == [None, expected.head]
        assert [head["sinks"] for head in layer["heads"]] == [[0, count] for count in expected.sinks_per_head]
    (tile,) = found["map"]["images"][0]["tiles"]
    assert tile["received"] == pytest.approx(expected.received[6].tolist(), rel=1e-3, abs=1e-7)


def test_a_request_is_counted_once(server: Server) -> None:
    chat(server, 1, {"report": True})  # a report brings every count that is due
    before = server.counter("eah_requests_total", outcome="applied")
    heads = before_heads = 0.0
    for layer in ("0", "2"):
        before_heads += sum(server.counter("eah_source_heads_total", head=str(h), layer=layer) for h in range(8))
    chat(server, 2, {"layer": [0, 2]} | RELATIVE)
    server.wait_for_counter(before + 1, "eah_requests_total", outcome="applied")
    for layer in ("0", "2"):
        heads += sum(server.counter("eah_source_heads_total", head=str(h), layer=layer) for h in range(8))
    assert heads == before_heads + 2


def test_every_stage_reuses_its_heads(server: Server) -> None:
    eah = {"layer": [0, 2], "report": True} | RELATIVE
    long = "Is there a dog in the image, " * 4
    first, second = (chat(server, 3, eah, long + question) for question in ("or a cat?", "or two cups?"))
    assert second.usage.prompt_tokens_details.cached_tokens > 0
    assert [layer | {"reused": True} for layer in first.eah["layers"]] == second.eah["layers"]
    assert [layer["layer"] for layer in second.eah["layers"]] == [0, 2]


def test_why_not_is_said_once(server: Server) -> None:
    before = server.counter("eah_requests_total", outcome="no_image")
    asked: dict[str, Any] = {"model": "tiny", "prompt": "USER: Is there a dog?", "max_tokens": 2}
    flat = {"eah": 1, "eah_layer": [0, 2], "eah_report": 1}
    response = server.client.completions.create(**asked, extra_body={"vllm_xargs": flat})
    assert response.eah == {"applied": False, "reason": "no_image", "layers": []}
    server.wait_for_counter(before + 1, "eah_requests_total", outcome="no_image")
