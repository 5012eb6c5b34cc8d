"""A KV cache too small for its requests: preempted and resumed requests answer as if they had never stopped."""

from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Ask, Engine, Spare

NUM_REQUESTS, NUM_TOKENS = 6, 90


@pytest.mark.parametrize("prefix_reuse", [False, True])
def test_preempted_requests_equal_undisturbed_ones(
    gqa_checkpoint: Path, gqa_engine: Engine, spare: Spare, prefix_reuse: bool
) -> None:
    # Half with EAH, half without; each needs about 5 blocks at its end, and 6 of them start in 14.
    settings = [None, EAH, None, EAH | {"head": "random", "seed": 1}, None, EAH | {"head": "random"}]
    asks = [
        Ask(IMAGE_PROMPT, [random_image(100 + idx)], eah, max_tokens=NUM_TOKENS) for idx, eah in enumerate(settings)
    ]
    undisturbed = [gqa_engine.generate([ask])[0] for ask in asks]
    plain = gqa_engine.one(IMAGE_PROMPT, asks[1].images, max_tokens=NUM_TOKENS)
    assert undisturbed[1].tokens != plain.tokens, "EAH had no effect here"
    tight_memory = {"num_gpu_blocks_override": 14, "max_model_len": 160}
    small = spare.serving(gqa_checkpoint, **tight_memory, additional_config={"eah": {"prefix_reuse": prefix_reuse}})
    tight = small.generate(asks)
    assert small.collect()["outcomes"]["eah"] == {"applied": NUM_REQUESTS // 2}
    assert small.metric("vllm:num_preemptions") > 0, "nothing was preempted; the test proves nothing"
    assert [answer.tokens for answer in tight] == [answer.tokens for answer in undisturbed]
