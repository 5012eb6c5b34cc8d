"""Many requests at once: vLLM's encoder cache can be full before a step is, and no EAH prompt may be split for that."""

from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Ask, Engine, Spare

MAX_REQUESTS = 12
TOKENS_PER_STEP = 512 + MAX_REQUESTS
"""Room for eight pictures of 64 tokens, in a step and in the encoder's cache."""
REPORTED = EAH | {"report": 1, "tag": "waited"}


@pytest.fixture(scope="module")
def engine(mha_checkpoint: Path, spare: Spare) -> Engine:
    """The least number of tokens per step: a prompt of full length beside one token of every running request."""
    return spare.serving(mha_checkpoint, max_num_seqs=MAX_REQUESTS, max_num_batched_tokens=TOKENS_PER_STEP)


def test_a_prompt_waits_while_the_encoder_cache_is_full(engine: Engine) -> None:
    # Asked again, these read all but the end of their prompts from the prefix cache, which lies within the picture: few
    # tokens each, and a whole picture in the encoder's cache.
    plain = [Ask(IMAGE_PROMPT, [random_image(100 + idx)]) for idx in range(8)]
    first = engine.generate(plain)
    late = Ask(IMAGE_PROMPT, [random_image(200)], REPORTED)
    *again, waited = engine.generate([*plain, late])
    assert engine.collect("waited")["reports"]["waited"]["applied"]
    assert [answer.tokens for answer in again] == [answer.tokens for answer in first]
    alone = engine.generate([late])[0]
    assert waited.tokens == alone.tokens
    assert waited.first_logprobs == pytest.approx(alone.first_logprobs, abs=1e-4)
    assert waited.tokens != engine.one(IMAGE_PROMPT, late.images).tokens


def test_several_pictures_wait_too(engine: Engine) -> None:
    two = IMAGE_PROMPT.replace("<image>", "<image> <image>")
    plain = [Ask(IMAGE_PROMPT, [random_image(100 + idx)]) for idx in range(7)]
    engine.generate(plain)
    engine.generate([*plain, Ask(two, [random_image(201), random_image(202)], REPORTED)])
    assert engine.collect("waited")["reports"]["waited"]["applied"]
