"""Chunked prefill forced on by the user: a split prompt is answered without EAH and says so, never half with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Engine


@pytest.fixture(scope="module")
def chunked_engine(mha_checkpoint: Path) -> Iterator[Engine]:
    """A prompt with one image has about 90 tokens, more than fit into a step of 64; one without fits."""
    options = {"enable_chunked_prefill": True, "max_num_batched_tokens": 64}
    with Engine(mha_checkpoint, additional_config={"eah": {"chunked_prefill": True}}, **options) as engine:
        yield engine


def test_split_prompt_is_reported_and_not_changed(chunked_engine: Engine) -> None:
    images = [random_image(5)]
    plain = chunked_engine.one(IMAGE_PROMPT, images)
    chunked_engine.collect()
    split = chunked_engine.one(IMAGE_PROMPT, images, EAH | {"report": 1, "tag": "split"})
    collected = chunked_engine.collect("split")
    assert collected["reports"]["split"] == {"applied": False, "reason": "prompt_split", "layers": []}
    assert collected["outcomes"] == {"prompt_split": 1}
    assert split.first_logprobs == plain.first_logprobs
    assert split.tokens == plain.tokens
