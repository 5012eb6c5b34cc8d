"""Converted checkpoints of Shikra and of LLaVA's original layout in the real engine, EAH off and on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eah_vllm.convert.converting import convert
from eah_vllm.convert.layouts import LAYOUTS
from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Served, Shared
from tests.models.llava_families import LLAVA
from tests.models.reference import Reference
from tests.models.test_families import EFFECT, TOKENS, assert_equal, case, difference
from tests.original_layouts import make_original

FAMILIES = {
    "shikra": replace(LLAVA, image="<im_start><im_patch><im_end>", image_token="<im_patch>"),
    "llava": LLAVA,
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_converted_checkpoint(name: str, ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`tests/unit/test_convert.py` shows that the reference computes what the original does."""
    family, folder = FAMILIES[name], tmp_path_factory.mktemp(name)
    convert(LAYOUTS[name], make_original(folder / "src", shikra=name == "shikra").folder, folder / "dst")
    served = Served(family, folder / "dst", ours.serving(family, folder / "dst"), Reference(family, folder / "dst"))
    prompt, images, eah, on = case(served, "relative threshold")
    off = served.reference.generate(prompt, images, None, TOKENS)
    assert difference(on, off) > EFFECT
    asks = [Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS), Ask(prompt, images, None, TOKENS)]
    got_on, got_off = served.engine.generate(asks)
    assert_equal(got_on, on)
    assert_equal(got_off, off)
    (found,) = on.report
    assert report_of(served.engine, "on")["layers"] == [found.as_report() | {"density": pytest.approx(found.density)}]
