"""`head: "random"`: drawn for each picture, each layer and each `seed`, and the same whenever it is drawn again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import IMAGE_PROMPT, LONG_IMAGE_PROMPT, random_image
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference
from tests.engine.driver import Ask, Engine, Spare
from tests.reference import reference_generate

RANDOM = {"layer": 1, "relative_threshold": 1.0, "head": "random"}
HEADS = 8


def heads(engine: Engine, asks: list[Ask]) -> list[list[int]]:
    """The heads that each request used, layer by layer."""
    tagged = [
        Ask(ask.prompt, ask.images, (ask.eah or {}) | {"report": 1, "tag": f"head-{idx}"}, max_tokens=1)
        for idx, ask in enumerate(asks)
    ]
    engine.generate(tagged)
    reports = engine.collect(*(f"head-{idx}" for idx in range(len(tagged))))["reports"]
    assert all(report["applied"] for report in reports.values())
    return [[layer["head"] for layer in reports[f"head-{idx}"]["layers"]] for idx in range(len(tagged))]


@pytest.fixture(scope="module")
def over_pictures(gqa_engine: Engine) -> list[int]:
    """The heads of 200 pictures whose prompts have equal token ids, in one layer."""
    return [head for (head,) in heads(gqa_engine, [Ask(IMAGE_PROMPT, [random_image(i)], RANDOM) for i in range(200)])]


def test_pictures_with_equal_token_ids_get_different_heads(over_pictures: list[int]) -> None:
    counts = Counter(over_pictures)
    assert set(counts) == set(range(HEADS))
    # 25 are expected of each; a fair draw leaves these bounds less than once in ten thousand times.
    assert min(counts.values()) >= 7, counts
    assert max(counts.values()) <= 48, counts


def test_a_head_is_the_same_when_it_is_drawn_again(gqa_engine: Engine, over_pictures: list[int]) -> None:
    again = [Ask(IMAGE_PROMPT, [random_image(i)], RANDOM) for i in reversed(range(20))]
    assert heads(gqa_engine, again) == [[head] for head in reversed(over_pictures[:20])]
    assert heads(gqa_engine, [Ask(LONG_IMAGE_PROMPT, [random_image(0)], RANDOM)]) == [over_pictures[:1]], (
        "another question about the picture"
    )


def test_layers_and_draws_are_independent(gqa_engine: Engine) -> None:
    """Neighbouring layers once had neighbouring heads."""
    everywhere = RANDOM | {"layer": [0, 1, 2]}
    pictures = [random_image(i) for i in range(20)]
    by_layer = heads(gqa_engine, [Ask(IMAGE_PROMPT, [picture], everywhere) for picture in pictures])
    assert len({tuple((head - first) % HEADS for head in rest) for first, *rest in by_layer}) > 10
    draws: list[dict[str, Any]] = [RANDOM | {"seed": seed} for seed in range(20)]
    drawn = heads(gqa_engine, [Ask(IMAGE_PROMPT, [pictures[0]], eah) for eah in draws])
    assert len({head for (head,) in drawn}) > 4
    assert heads(gqa_engine, [Ask(IMAGE_PROMPT, [pictures[0]], eah) for eah in draws]) == drawn
    assert heads(gqa_engine, [Ask(IMAGE_PROMPT, [pictures[0]], RANDOM)]) == drawn[:1], "the seed is 0 by default"


@pytest.mark.parametrize("seed", [0, 3])
def test_the_head_is_the_one_that_the_rule_names(gqa_checkpoint: Path, gqa_engine: Engine, seed: int) -> None:
    eah = RANDOM | {"layer": [0, 2], "seed": seed}
    named = ["a picture", "another one"]
    prompt, images = f"USER: <image>\nand <image>\n{IMAGE_PROMPT.rpartition('<image>')[2]}", [random_image(5)] * 2
    on = reference_generate(gqa_checkpoint, prompt, images, eah, pictures=named)
    assert_eah_matters(on, reference_generate(gqa_checkpoint, prompt, images))
    asked = Ask(prompt, images, eah | {"report": 1, "tag": "named"}, uuids=named)
    assert_equals_reference(gqa_engine.generate([asked])[0], on)
    assert_reports_reference(gqa_engine.collect("named")["reports"]["named"], on)


def test_with_and_without_prefix_reuse_it_is_the_same(gqa_checkpoint: Path, gqa_engine: Engine, spare: Spare) -> None:
    """A head that was recorded with a cached picture is the one that the next question would draw by itself."""
    next_turn = f"{LONG_IMAGE_PROMPT} Yes. USER: Is there a cat? ASSISTANT:"
    turns = [[Ask(prompt, [random_image(i)], RANDOM) for i in range(8)] for prompt in (LONG_IMAGE_PROMPT, next_turn)]
    reusing = spare.serving(gqa_checkpoint, additional_config={"eah": {"prefix_reuse": True}})
    assert [heads(reusing, asks) for asks in turns] == [heads(gqa_engine, asks) for asks in turns]
    again = reusing.one(next_turn, [random_image(0)], RANDOM | {"report": 1, "tag": "again"})
    assert again.cached_tokens > 0
    assert reusing.collect("again")["reports"]["again"]["layers"][0]["reused"], "the test proves nothing"
