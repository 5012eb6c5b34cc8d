"""vLLM makes a model of another class for each version of MiniCPM-V; all of them get EAH."""

from __future__ import annotations

import pytest

from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Shared, serve
from tests.models.minicpmv import VERSIONS
from tests.models.test_families import EFFECT, TOKENS, assert_equal, case, difference


@pytest.mark.parametrize("version", list(VERSIONS))
def test_an_earlier_version(version: str, ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(ours, VERSIONS[version], tmp_path_factory.mktemp("minicpmv"))
    prompt, images, eah, on = case(served, "two images")
    off = served.reference.generate(prompt, images, None, TOKENS)
    assert difference(on, off) > EFFECT
    asks = [Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS), Ask(prompt, images, None, TOKENS)]
    got_on, got_off = served.engine.generate(asks)
    assert_equal(got_on, on)
    assert_equal(got_off, off)
    (found,) = on.report
    assert report_of(served.engine, "on")["layers"] == [found.as_report() | {"density": pytest.approx(found.density)}]
