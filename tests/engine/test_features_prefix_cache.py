"""A warm prefix cache under mixed traffic over the same images = no prefix cache at all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.checkpoints import random_image
from tests.engine.asks import EAH, OTHER_EAH
from tests.engine.driver import Answer, Ask, Engine, Spare

BLOCK = 32
SETTINGS = [None, EAH, OTHER_EAH, {"layer": [0, 1], "relative_threshold": 1.5}, EAH | {"head": "sparsest"}]
QUESTIONS = ["Is there a dog near the blue bench?", "Please describe this image in detail."]


@pytest.fixture(scope="module")
def cold(gqa_checkpoint: Path, spare: Spare) -> Engine:
    return spare.serving(gqa_checkpoint, enable_prefix_caching=False)


def traffic() -> list[tuple[tuple[int, int, int], Ask]]:
    """Every question about every image under every setting, twice, shuffled; named (image, question, setting)."""
    kinds = [(image, question, setting) for image in range(2) for question in range(2) for setting in range(5)] * 2
    random.Random(0).shuffle(kinds)
    images = [random_image(800 + idx) for idx in range(2)]
    lead = "USER: <image>\nThe picture shows a small brown dog, an open book and a red car. "
    return [
        (kind, Ask(f"{lead}{QUESTIONS[kind[1]]} ASSISTANT:", [images[kind[0]]], SETTINGS[kind[2]])) for kind in kinds
    ]


def assert_same(got: Answer, expected: Answer) -> None:
    assert got.tokens == expected.tokens
    assert got.first_logprobs == pytest.approx(expected.first_logprobs, abs=1e-4)


def test_interleaved_traffic_equals_a_cold_engine(gqa_engine: Engine, cold: Engine) -> None:
    asks = traffic()
    expected = {kind: cold.generate([ask])[0] for kind, ask in dict(asks).items()}
    for image in range(2):
        for question in range(2):
            rows = [expected[image, question, setting].first_logprobs for setting in range(len(SETTINGS))]
            for idx, row in enumerate(rows):
                assert all(row != pytest.approx(other, abs=1e-3) for other in rows[:idx]), "settings have equal effects"

    seen: set[int] = set()
    for (image, question, setting), ask in asks:
        (got,) = gqa_engine.generate([ask])
        assert_same(got, expected[image, question, setting])
        if SETTINGS[setting] is not None:
            assert got.cached_tokens == 0
        else:
            assert (got.cached_tokens >= BLOCK) == (image in seen), "plain traffic must keep its prefix cache"
            seen.add(image)

    # The same all at once: neighbours in a step, and blocks that are written and read in one batch.
    for (kind, _), got in zip(asks, gqa_engine.generate([ask for _, ask in asks]), strict=True):
        assert_same(got, expected[kind])
