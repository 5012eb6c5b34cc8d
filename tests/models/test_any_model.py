"""A multimodal architecture without a row: as in stock vLLM, until somebody sets `any_model`."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from eah_vllm.models import MODELS
from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Shared, serve
from tests.models.qwen_families import GLM_OCR
from tests.models.test_families import ONE, TOKENS, pictures

ANY_MODEL = {"eah": {"any_model": True}}


def test_an_architecture_without_a_row(ours: Shared, stock: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert GLM_OCR.architecture not in MODELS
    served = serve(ours, GLM_OCR, tmp_path_factory.mktemp("no_row"))
    prompt, images, eah = GLM_OCR.prompt(ONE), pictures(0, 1), {"layer": 1, "relative_threshold": 1.25}
    off, on = Ask(prompt, images, None, TOKENS), Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS)
    expected = stock.serving(GLM_OCR, served.path).generate([off])[0]
    for ask in (off, on):
        got = served.engine.generate([ask])[0]
        assert (got.tokens, got.first_logprobs) == (expected.tokens, expected.first_logprobs)
    with pytest.raises(RuntimeError, match="eah_collect"):
        served.engine.collect()

    engine = ours.serving(GLM_OCR, served.path, additional_config=ANY_MODEL)
    got = engine.generate([off])[0]
    assert (got.tokens, got.first_logprobs) == (expected.tokens, expected.first_logprobs)
    assert engine.generate([on])[0].first_logprobs != expected.first_logprobs
    report = report_of(engine, "on")
    image_token = AutoTokenizer.from_pretrained(served.path).convert_tokens_to_ids(GLM_OCR.image_token)
    assert (report["applied"], report["reason"]) == (True, None)
    assert report["layers"][0]["image_tokens"] == expected.prompt_token_ids.count(image_token) > 1
