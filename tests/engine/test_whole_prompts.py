"""Chunked prefill forced on by the user: a split prompt is answered without EAH and says so, never half with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Engine

TWO_IMAGES_PROMPT = IMAGE_PROMPT.replace("<image>", "<image> <image>")
TOKENS_PER_STEP = 128


@pytest.fixture(scope="module")
def chunked_engine(mha_checkpoint: Path) -> Iterator[Engine]:
    """A prompt with one image fits into a step, one with two does not."""
    options = {"enable_chunked_prefill": True, "max_num_batched_tokens": TOKENS_PER_STEP}
    with Engine(mha_checkpoint, additional_config={"eah": {"chunked_prefill": True}}, **options) as engine:
        yield engine


def test_unsplit_prompt_is_changed(chunked_engine: Engine) -> None:
    plain = chunked_engine.one(IMAGE_PROMPT, [random_image(5)])
    assert len(plain.prompt_token_ids) < TOKENS_PER_STEP
    whole = chunked_engine.one(IMAGE_PROMPT, [random_image(5)], EAH | {"report": 1, "tag": "whole"})
    assert chunked_engine.collect("whole")["reports"]["whole"]["applied"]
    assert whole.first_logprobs != pytest.approx(plain.first_logprobs, abs=1e-2)


def test_split_prompt_is_reported_and_not_changed(chunked_engine: Engine) -> None:
    images = [random_image(5), random_image(6)]
    plain = chunked_engine.one(TWO_IMAGES_PROMPT, images)
    assert len(plain.prompt_token_ids) > TOKENS_PER_STEP
    chunked_engine.collect()
    split = chunked_engine.one(TWO_IMAGES_PROMPT, images, EAH | {"report": 1, "tag": "split"})
    collected = chunked_engine.collect("split")
    assert collected["reports"]["split"] == {"applied": False, "reason": "prompt_split", "layers": []}
    assert collected["outcomes"] == {"prompt_split": 1}
    assert split.first_logprobs == plain.first_logprobs
    assert split.tokens == plain.tokens
