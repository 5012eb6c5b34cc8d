"""A geometry that no other test has, served by the plain command and asked by the real client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import Qwen2VLConfig, Qwen2VLProcessor, Qwen2VLVideoProcessor

from tests.checkpoints import random_image
from tests.models.family import make_checkpoint
from tests.models.qwen_families import ROPE, TEXT_OF_QWEN, qwen_family
from tests.models.reference import Reference
from tests.reference import ReferenceOutput
from tools.serving import Server, image_message

# 5 layers, 6 heads of 64 with 3 key heads, width 384, a wider and deeper vision tower.
UNSEEN = qwen_family(
    "Qwen2VLForConditionalGeneration",
    Qwen2VLConfig,
    TEXT_OF_QWEN
    | {
        "hidden_size": 384,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "max_position_embeddings": 1024,
        "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]},
    },
    {"depth": 3, "embed_dim": 96, "hidden_size": 384, "num_heads": 3, "mlp_ratio": 2},
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)
QUESTION = "Is there a dog in the image?"
IMAGE = random_image(7, 140).resize((140, 84), Image.Resampling.NEAREST)
CASES: list[dict[str, Any]] = [
    {"layer": 3, "relative_threshold": 1.25},
    {"layer": 1, "threshold": 0.03},
    {"layer": [1, 4], "relative_threshold": 1.0},
]


def test_an_unseen_geometry_equals_the_reference(tmp_path: Path) -> None:
    reference = Reference(UNSEEN, make_checkpoint(UNSEEN, tmp_path, seed=7))
    prompt = UNSEEN.prompt(f"USER: {{image}}\n{QUESTION} ASSISTANT:")
    off = reference.generate(prompt, [IMAGE])
    with Server([str(tmp_path), "--dtype", "float32"]) as server:

        def ask(eah: dict[str, Any] | None) -> Any:
            return server.client.chat.completions.create(
                model=str(tmp_path),
                messages=image_message(IMAGE, QUESTION),
                temperature=0,
                max_tokens=8,
                logprobs=True,
                top_logprobs=20,
                extra_body={"ignore_eos": True, "return_token_ids": True, "return_tokens_as_token_ids": True}
                | ({} if eah is None else {"eah": eah | {"report": True}}),
            )

        assert_equal(ask(None), off)
        for eah in CASES:
            on = reference.generate(prompt, [IMAGE], eah)
            assert all(layer.applied and layer.margin > 2e-6 for layer in on.report)
            assert (on.first_token_logprobs - off.first_token_logprobs).abs().max() > 1e-2
            answer = ask(eah)
            assert_equal(answer, on)
            assert answer.eah["applied"]
            expected = [layer.as_report() | {"density": pytest.approx(layer.density)} for layer in on.report]
            assert answer.eah["layers"] == expected
        assert_equal(ask(None), off)


def assert_equal(answer: Any, expected: ReferenceOutput) -> None:
    (choice,) = answer.choices
    assert answer.prompt_token_ids == expected.prompt_token_ids
    assert list(choice.token_ids) == expected.tokens
    first = choice.logprobs.content[0].top_logprobs
    assert len(first) == 20
    for one in first:
        token = int(one.token.removeprefix("token_id:"))
        assert one.logprob == pytest.approx(float(expected.first_token_logprobs[token]), abs=1e-3)
