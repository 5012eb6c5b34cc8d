"""Chunked prefill is vLLM's: plain prompts are split, EAH prompts wait until they are whole.

A prompt that is longer than a step is answered without EAH and says so, never half with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Answer, Ask, Engine

TWO_IMAGES_PROMPT = IMAGE_PROMPT.replace("<image>", "<image> <image>")
TOKENS_PER_STEP = 128
RUNNERS = {"V1": "spare", "V2": "spare_v2"}
"""With the fixture that has a process for it."""
TIGHT = {"num_gpu_blocks_override": 23}
"""Blocks of 32 tokens: room for four prompts, and not for their answers; the last to come, with EAH, is preempted."""


@pytest.fixture(scope="module")
def chunked_engine(mha_checkpoint: Path) -> Iterator[Engine]:
    """A prompt with one image fits into a step, one with two does not. `chunked_prefill` used to be off by default."""
    options = {"max_num_batched_tokens": TOKENS_PER_STEP, "additional_config": {"eah": {"chunked_prefill": True}}}
    with Engine(mha_checkpoint, **options) as engine:
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
    chunked_engine.reset_prefix_cache()
    split = chunked_engine.one(TWO_IMAGES_PROMPT, images, EAH | {"report": 1, "tag": "split"})
    collected = chunked_engine.collect("split")
    assert collected["reports"]["split"] == {"applied": False, "reason": "prompt_split", "layers": []}
    assert collected["outcomes"]["eah"] == {"prompt_split": 1}
    assert split.first_logprobs == plain.first_logprobs
    assert split.tokens == plain.tokens
    again = chunked_engine.one(TWO_IMAGES_PROMPT, images, EAH | {"report": 1, "tag": "again"})
    assert again.cached_tokens > 0, "a request without EAH may read the prefix cache"
    assert again.tokens == plain.tokens
    assert chunked_engine.collect("again")["reports"]["again"]["reason"] == "prompt_split"


def test_the_log_names_the_limit(chunked_engine: Engine) -> None:
    assert f"EAH acts on prompts of up to {TOKENS_PER_STEP} tokens" in chunked_engine.log()


def long_and_short(num_tokens: int) -> list[Ask]:
    """Long plain prompts, and between them EAH prompts that leave a step little room."""
    asks = []
    for idx in range(3):
        words = " ".join(f"{idx}{word}" for word in range(60))
        asks.append(Ask(f"USER: {words}? ASSISTANT:", max_tokens=num_tokens))
        tagged = EAH | {"report": 1, "tag": f"eah-{idx}"}
        asks.append(Ask(IMAGE_PROMPT, [random_image(50 + idx)], tagged, max_tokens=num_tokens))
    return asks


def assert_alike(together: list[Answer], alone: list[Answer]) -> None:
    for one, other in zip(together, alone, strict=True):
        assert one.tokens == other.tokens
        assert one.first_logprobs == pytest.approx(other.first_logprobs, abs=1e-3)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("memory", ["ample", "tight"])
def test_long_prompts_in_chunks_and_whole_eah_prompts_disturb_nobody(
    mha_checkpoint: Path, chunked_engine: Engine, request: pytest.FixtureRequest, runner: str, memory: str
) -> None:
    num_tokens = 12 if memory == "ample" else 60
    asks = long_and_short(num_tokens)
    alone = [chunked_engine.generate([ask])[0] for ask in asks]
    plain = chunked_engine.one(asks[1].prompt, asks[1].images, max_tokens=num_tokens)
    assert plain.tokens != alone[1].tokens, "EAH had no effect here"
    assert all(len(alone[idx].prompt_token_ids) > 1.5 * TOKENS_PER_STEP for idx in (0, 2, 4))
    options = {} if memory == "ample" else TIGHT
    spare = request.getfixturevalue(RUNNERS[runner])
    engine = spare.serving(mha_checkpoint, max_num_batched_tokens=TOKENS_PER_STEP, **options)
    together = engine.generate(asks)
    again = engine.generate(asks)  # plain prompts are read from the prefix cache now
    collected = engine.collect("eah-0", "eah-1", "eah-2")
    assert (engine.metric("vllm:num_preemptions") > 0) == (memory == "tight")
    assert_alike(together, alone)
    assert_alike(again, alone)
    assert collected["outcomes"]["eah"] == {"applied": 6}
    assert all(report["applied"] for report in collected["reports"].values())
    if memory == "ample":
        assert all(again[idx].cached_tokens > 0 for idx in (0, 2, 4))
