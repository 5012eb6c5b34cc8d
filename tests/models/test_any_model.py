"""A multimodal architecture without a row: as in stock vLLM, until somebody sets `any_model`."""

from __future__ import annotations

import pytest

from eah_vllm.models import MODELS
from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Shared, serve
from tests.models.qwen_families import GLM_OCR
from tests.models.test_families import TOKENS, assert_equal, case

ANY_MODEL = {"eah": {"any_model": True}}


def test_an_architecture_without_a_row(ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert GLM_OCR.architecture not in MODELS
    served = serve(ours, GLM_OCR, tmp_path_factory.mktemp("no_row"))
    prompt, images, eah, on = case(served, "relative threshold")
    off = served.reference.generate(prompt, images, None, TOKENS)
    with pytest.raises(RuntimeError, match="eah_collect"):
        served.engine.collect()
    assert_equal(served.engine.generate([Ask(prompt, images, eah, TOKENS)])[0], off)

    engine = ours.serving(GLM_OCR, served.path, additional_config=ANY_MODEL)
    asks = [Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS), Ask(prompt, images, None, TOKENS)]
    got_on, got_off = engine.generate(asks)
    assert_equal(got_on, on)
    assert_equal(got_off, off)
    report = report_of(engine, "on")
    assert report["layers"] == [on.report[0].as_report() | {"density": pytest.approx(on.report[0].density)}]
