"""Model Runner V2, by Triton's interpreter: EAH is added to the state that vLLM itself would have taken."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.engine.compare import report_of
from tests.engine.driver import ROOT, Ask
from tests.models.conftest import Shared, serve
from tests.models.families import FAMILIES
from tests.models.test_families import assert_equal, assert_inspected, case

V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))
ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"}
TOKENS = 3


@pytest.fixture(scope="module")
def v2() -> Iterator[Shared]:
    shared = Shared(python=V2_PYTHON, env=ENVIRONMENT)
    yield shared
    shared.close()


@pytest.mark.parametrize("name", ["LLaVA-NeXT, Vicuna", "Qwen2.5-VL", "InternVL"])
def test_v2_equals_the_reference(name: str, v2: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(v2, FAMILIES[name], tmp_path_factory.mktemp("v2"))
    assert "Using V2 Model Runner" in served.engine.log()
    prompt, images, eah, _ = case(served, "two images")
    on, off = (served.reference.generate(prompt, images, options, TOKENS) for options in (eah, None))
    asks = [Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS), Ask(prompt, images, None, TOKENS)]
    got_on, got_off = served.engine.generate(asks)
    assert_equal(got_on, on)
    assert_equal(got_off, off)
    report = report_of(served.engine, "on")
    assert report["layers"] == [on.report[0].as_report() | {"density": pytest.approx(on.report[0].density)}]
    if name == "Qwen2.5-VL":  # one family is enough: the interpreter is slow
        assert_inspected(served.engine, served.reference)
