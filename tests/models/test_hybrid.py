"""Hybrid models: layers with attention can be changed, layers without say so. vLLM's CPU kernels need bfloat16 here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Served, Shared, serve
from tests.models.families import HYBRID
from tests.models.test_families import ONE, TOKENS, pictures
from tests.reference import LayerOutcome

# vLLM splits prompts of hybrid models at its blocks to cache the layers' states.
OPTIONS: dict[str, Any] = {"dtype": "bfloat16", "enable_prefix_caching": False}


def clear_case(served: Served) -> tuple[Ask, LayerOutcome]:
    """A picture and a threshold from which every column is so far that bfloat16 decides as float32 does."""
    for seed in range(100):
        for threshold in (0.05, 0.08, 0.12):
            images, eah = pictures(seed, 1), {"layer": served.family.layers[0], "threshold": threshold}
            (found,) = served.reference.generate(served.family.prompt(ONE), images, eah, 1).report
            if found.applied and found.margin > 8e-3:
                return Ask(served.family.prompt(ONE), images, eah | {"report": 1, "tag": "on"}, TOKENS), found
    raise AssertionError("no picture is clear enough")


@pytest.mark.parametrize("name", list(HYBRID))
def test_attention_layers_work_and_others_say_why(
    name: str, ours: Shared, stock: Shared, tmp_path_factory: pytest.TempPathFactory
) -> None:
    served = serve(ours, HYBRID[name], tmp_path_factory.mktemp("hybrid"), **OPTIONS)
    ask, found = clear_case(served)
    off = Ask(ask.prompt, ask.images, None, TOKENS)
    plain = served.engine.generate([off])[0]
    assert served.engine.generate([ask])[0].first_logprobs != plain.first_logprobs
    report = report_of(served.engine, "on")
    assert report["layers"] == [found.as_report() | {"density": pytest.approx(found.density)}]

    for layer, why in served.family.refused.items():
        refused = Ask(ask.prompt, ask.images, {"layer": [layer, 1], "report": 1, "tag": "no"}, TOKENS)
        assert served.engine.generate([refused])[0].first_logprobs == plain.first_logprobs
        report = report_of(served.engine, "no")
        assert (report["applied"], report["reason"]) == (False, "unsupported_attention")
        assert why in report["detail"]

    expected = stock.serving(served.family, served.path, **OPTIONS).generate([off])[0]
    assert (plain.tokens, plain.first_logprobs) == (expected.tokens, expected.first_logprobs)
