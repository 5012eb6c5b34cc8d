"""EAH on = a Hugging Face eager reference that shares no code with the product: same tokens, same log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import GEOMETRIES, IMAGE_PROMPT, make_llava, random_image
from tests.engine.driver import Engine, Spare
from tests.reference import reference_generate

IMAGE_FIRST = "<image>\nUSER: Please describe this image in detail. ASSISTANT:"
IMAGE_LAST = "USER: Please describe this image in detail. ASSISTANT: <image>"
TWO_IMAGES = "USER: <image>\nand <image>\nPlease describe this image in detail. ASSISTANT:"

# name, prompt, number of images, options
CASES: list[tuple[str, str, int, dict[str, Any]]] = [
    ("layer 0", IMAGE_PROMPT, 1, {"layer": 0, "relative_threshold": 1.5}),
    ("layer 1", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 1.5}),
    ("layer 2", IMAGE_PROMPT, 1, {"layer": 2, "relative_threshold": 1.5}),
    ("layers 0 and 1", IMAGE_PROMPT, 1, {"layer": [0, 1], "relative_threshold": 1.5}),
    ("paper preset", IMAGE_PROMPT, 1, {"preset": "paper"}),
    ("absolute threshold", IMAGE_PROMPT, 1, {"layer": 0, "threshold": 0.03}),
    ("other threshold", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 3.0}),
    ("sparsest head", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 1.5, "head": "sparsest"}),
    ("fixed head", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 1.5, "head": 5}),
    ("min_density met", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 1.0, "min_density": 0.05}),
    ("min_density not met", IMAGE_PROMPT, 1, {"layer": 1, "relative_threshold": 1.0, "min_density": 0.99}),
    ("no sink", IMAGE_PROMPT, 1, {"layer": 1, "threshold": 0.99}),
    ("released code", IMAGE_PROMPT, 1, {"preset": "released_code", "layer": 1, "threshold": 0.001}),
    ("two images", TWO_IMAGES, 2, {"layer": 1, "relative_threshold": 1.5}),
    ("two images, released code", TWO_IMAGES, 2, {"preset": "released_code", "layer": 0, "threshold": 0.001}),
    ("image first", IMAGE_FIRST, 1, {"layer": 1, "relative_threshold": 1.5}),
    ("image last", IMAGE_LAST, 1, {"layer": 1, "relative_threshold": 1.5}),
]


@pytest.fixture(scope="module", params=["mha", "gqa", "unusual"])
def checkpoint_and_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spare: Spare
) -> Iterator[tuple[Path, Engine]]:
    if request.param == "gqa":
        yield request.getfixturevalue("gqa_checkpoint"), request.getfixturevalue("gqa_engine")
        return
    path = make_llava(tmp_path_factory.mktemp(request.param), GEOMETRIES[request.param])
    if request.param == "unusual":
        yield path, spare.serving(path)
        return
    with Engine(path, env={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}) as engine:
        yield path, engine


def test_off_equals_hugging_face(checkpoint_and_engine: tuple[Path, Engine]) -> None:
    """The ground on which the other cases stand."""
    path, engine = checkpoint_and_engine
    images = [random_image(7)]
    expected, got = reference_generate(path, IMAGE_PROMPT, images), engine.one(IMAGE_PROMPT, images)
    assert got.prompt_token_ids == expected.prompt_token_ids
    assert got.tokens[0] == expected.tokens
    assert _largest_difference(got.first_logprobs, expected.first_token_logprobs) < 1e-3


@pytest.mark.parametrize(("prompt", "num_images", "eah"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_on_equals_reference(
    checkpoint_and_engine: tuple[Path, Engine], prompt: str, num_images: int, eah: dict[str, Any]
) -> None:
    path, engine = checkpoint_and_engine
    images = [random_image(seed) for seed in range(20, 20 + num_images)]
    expected = reference_generate(path, prompt, images, eah)
    plain = reference_generate(path, prompt, images)
    applied = any(layer.applied for layer in expected.report)
    effect = (expected.first_token_logprobs - plain.first_token_logprobs).abs().max().item()
    assert (effect > 1e-2) == applied, "a case without an effect would prove nothing"

    got = engine.one(prompt, images, eah | {"report": 1, "tag": "case"})
    report = engine.collect("case")["reports"]["case"]

    assert got.tokens[0] == expected.tokens
    assert _largest_difference(got.first_logprobs, expected.first_token_logprobs) < 1e-3
    assert report["applied"] == applied
    assert [
        (layer["layer"], layer["head"], layer["sinks"], layer["image_tokens"], pytest.approx(layer["density"]))
        for layer in report["layers"]
    ] == [
        (layer.layer, layer.head if layer.applied else None, layer.sinks, layer.image_tokens, layer.density)
        for layer in expected.report
    ]


def test_random_head_is_repeatable_and_matches_that_fixed_head(checkpoint_and_engine: tuple[Path, Engine]) -> None:
    path, engine = checkpoint_and_engine
    images = [random_image(3)]
    random = {"layer": 1, "relative_threshold": 1.5, "head": "random", "report": 1, "tag": "random"}
    answers = [engine.one(IMAGE_PROMPT, images, random) for _ in range(2)]
    head = engine.collect("random")["reports"]["random"]["layers"][0]["head"]
    expected = reference_generate(path, IMAGE_PROMPT, images, {"layer": 1, "relative_threshold": 1.5, "head": head})
    assert answers[0].tokens == answers[1].tokens == [expected.tokens]


def _largest_difference(got: dict[int, float], expected: object) -> float:
    return max(abs(value - float(expected[token])) for token, value in got.items() if value > float("-inf"))  # type: ignore[index]
