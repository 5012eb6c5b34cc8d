"""Pipeline parallel 2 over layers of which EAH can change every second one: both stages decide alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import ALTERNATING_WINDOW, make_llava, random_image
from tests.engine.compare import largest_difference
from tests.reference import reference_generate
from tools.serving import SMALL, Server, image_message

QUESTION = "Please describe this image in detail. Is there a small brown dog near the blue bench?"
CHAT_PROMPT = f"USER: <image>\n{QUESTION} ASSISTANT:"
IMAGE = random_image(400)
TOLERANCE, EFFECT = 1e-3, 2e-2
"""Of log-probabilities: from the expected ones, and at least from the others."""
UNSUPPORTED = {"applied": False, "reason": "unsupported_attention", "layers": []}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers 0 and 2 have a window, 1 and 3 have not; the first stage holds layers 0 and 1."""
    return make_llava(tmp_path_factory.mktemp("mixed_layers"), replace(ALTERNATING_WINDOW, num_layers=4))


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    # On a CPU, vLLM 0.32 itself dies at the first request of two stages that nothing has warmed up.
    small = [argument for argument in SMALL if argument != "--enforce-eager"]
    arguments = [str(checkpoint), "--served-model-name", "tiny", *small, "--pipeline-parallel-size", "2"]
    with Server(arguments, env={"VLLM_CPU_OMP_THREADS_BIND": "nobind"}) as server:
        yield server


def chat(server: Server, eah: dict[str, Any] | None) -> Any:
    return server.client.chat.completions.create(
        model="tiny",
        messages=image_message(IMAGE, QUESTION),
        temperature=0,
        max_tokens=2,
        logprobs=True,
        top_logprobs=20,
        extra_body={"return_tokens_as_token_ids": True} | ({} if eah is None else {"eah": eah}),
    )


def first_token(answer: Any) -> dict[int, float]:
    """Log-probabilities by token ID."""
    first = answer.choices[0].logprobs.content[0]
    return {int(top.token.removeprefix("token_id:")): top.logprob for top in first.top_logprobs}


@pytest.mark.parametrize("layers", [[1], [2], [1, 3], [1, 2], [0, 3], [0, 1, 2, 3]])
def test_one_unsupported_layer_stops_all_stages(server: Server, checkpoint: Path, layers: list[int]) -> None:
    eah: dict[str, Any] = {"layer": layers, "relative_threshold": 1.0}
    on, off = (reference_generate(checkpoint, CHAT_PROMPT, [IMAGE], asked, max_tokens=1) for asked in (eah, None))
    answer = chat(server, eah | {"report": True})
    found = first_token(answer)
    from_on, from_off = (largest_difference(found, reference.first_token_logprobs) for reference in (on, off))
    if {0, 2}.isdisjoint(layers):
        assert from_on < TOLERANCE < EFFECT < from_off
        assert answer.eah["layers"] == [pytest.approx(layer.as_report()) for layer in on.report]
    else:
        assert from_off < TOLERANCE < EFFECT < from_on
        first = next(layer for layer in layers if layer in (0, 2))
        assert answer.eah == UNSUPPORTED | {"detail": f"layer {first}: sliding window"}


def test_it_is_counted_once(server: Server) -> None:
    chat(server, {"report": True})  # a report brings every count that is due
    before = server.counter("eah_requests_total", outcome="unsupported_attention")
    applied = server.counter("eah_requests_total", outcome="applied")
    chat(server, {"layer": [1, 2]})
    server.wait_for_counter(before + 1, "eah_requests_total", outcome="unsupported_attention")
    assert server.counter("eah_requests_total", outcome="applied") == applied
