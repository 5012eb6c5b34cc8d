"""Speculative decoding on Model Runner V2 (V1 is refused: `test_refusals.py`)."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference, report_of
from tests.engine.driver import Ask, Spare
from tests.reference import reference_generate

NGRAM = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 1, "prompt_lookup_max": 3}


def test_ngram_on_model_runner_v2_equals_reference(gqa_checkpoint: Path, spare_v2: Spare) -> None:
    images, num_tokens = [random_image(900)], 24
    on, plain = (reference_generate(gqa_checkpoint, IMAGE_PROMPT, images, eah, num_tokens) for eah in (EAH, None))
    assert_eah_matters(on, plain)
    engine = spare_v2.serving(gqa_checkpoint, speculative_config=NGRAM)
    asks = [Ask(IMAGE_PROMPT, images, EAH | {"report": 1, "tag": "ngram"}, num_tokens)]
    asks.append(Ask(IMAGE_PROMPT, images, None, num_tokens))
    for got, expected in zip(engine.generate(asks), (on, plain), strict=True):
        assert_equals_reference(got, expected)
    assert_reports_reference(report_of(engine, "ngram"), on)
    assert engine.metric("vllm:spec_decode_num_accepted_tokens") > 0, "nothing was speculated"
