"""Plugin installed and EAH off = stock vLLM, token for token and log-probability for log-probability."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Ask, Engine

PLAIN = [Ask(IMAGE_PROMPT, [random_image(seed)]) for seed in range(6)] + [Ask("USER: Is there a dog? ASSISTANT:")]


@pytest.fixture(scope="module")
def stock_engine(gqa_checkpoint: Path) -> Iterator[Engine]:
    # An allow-list without our name: the plugin is installed, and vLLM does not load it.
    with Engine(gqa_checkpoint, env={"VLLM_PLUGINS": ""}) as engine:
        yield engine


def test_stock_engine_has_no_plugin(stock_engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="eah_collect"):
        stock_engine.collect()


def test_off_is_stock_vllm_request_by_request(stock_engine: Engine, gqa_engine: Engine) -> None:
    for ask in PLAIN:
        (stock,), (ours,) = stock_engine.generate([ask]), gqa_engine.generate([ask])
        assert ours.tokens == stock.tokens
        assert ours.first_logprobs == stock.first_logprobs
    on = gqa_engine.one(PLAIN[0].prompt, PLAIN[0].images, EAH)
    assert on.first_logprobs != gqa_engine.generate(PLAIN[:1])[0].first_logprobs, "EAH had no effect here"


def test_off_is_stock_vllm_in_a_batch(stock_engine: Engine, gqa_engine: Engine) -> None:
    stock, ours = stock_engine.generate(PLAIN), gqa_engine.generate(PLAIN)
    assert [answer.tokens for answer in ours] == [answer.tokens for answer in stock]
    assert [answer.first_logprobs for answer in ours] == [answer.first_logprobs for answer in stock]
