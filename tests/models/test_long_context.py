"""A context of 32k with several pictures: as the reference where it has room for whole maps, and applied beyond."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from tests.checkpoints import LONG_CONTEXT, make_llava, random_image
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference, report_of
from tests.engine.driver import Ask
from tests.models.conftest import Shared
from tests.models.llava_families import LLAVA
from tests.reference import reference_generate

PICTURES, TOKENS = 6, 4
EAH = {"layer": 1, "relative_threshold": 1.25}
OPTIONS = {"max_model_len": 32768, "max_num_batched_tokens": 32768, "kv_cache_memory_bytes": 256 << 20}
FILLER = "The cup is green and stands beside an open book. "


def test_several_pictures_in_32k(ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = make_llava(tmp_path_factory.mktemp("long"), LONG_CONTEXT)
    tokens_of_filler = len(AutoTokenizer.from_pretrained(path)(FILLER, add_special_tokens=False).input_ids)
    engine = ours.serving(replace(LLAVA, max_images=PICTURES), path, **OPTIONS)

    def prompt(num_tokens: int) -> str:
        between = FILLER * (num_tokens // tokens_of_filler // PICTURES)
        return f"USER: {f'<image> {between}' * PICTURES} What? ASSISTANT:"

    for seed in range(0, 60, PICTURES):
        pictures = [random_image(seed + idx) for idx in range(PICTURES)]
        on = reference_generate(path, prompt(2000), pictures, EAH, TOKENS)
        if on.report[0].applied and on.report[0].margin > 1e-7:  # at a threshold of 6e-4
            break
    else:
        raise AssertionError("no pictures are good for a comparison")
    off = reference_generate(path, prompt(2000), pictures, None, TOKENS)
    assert_eah_matters(on, off)
    got = engine.one(prompt(2000), pictures, EAH | {"report": 1, "tag": "on"}, max_tokens=TOKENS)
    assert_equals_reference(got, on)
    assert_reports_reference(report_of(engine, "on"), on)
    assert_equals_reference(engine.one(prompt(2000), pictures, max_tokens=TOKENS), off)

    asks = [Ask(prompt(12000), pictures, EAH | {"report": 1, "tag": "far"}, 1), Ask(prompt(12000), pictures, None, 1)]
    far, plain = engine.generate(asks)
    assert len(far.prompt_token_ids) > 10_000
    assert far.first_logprobs != plain.first_logprobs
    (layer,) = report_of(engine, "far")["layers"]
    assert layer["image_tokens"] == PICTURES * LONG_CONTEXT.num_image_tokens
    assert layer["head"] is not None
