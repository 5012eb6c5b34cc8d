"""Windowed attention, soft-capped logits: EAH is for plain causal attention, so such layers decline and say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import (
    ALTERNATING_WINDOW,
    LONG_IMAGE_PROMPT,
    SLIDING_WINDOW,
    SOFT_CAP,
    Geometry,
    make_llava,
    random_image,
)
from tests.engine.compare import (
    assert_eah_matters,
    assert_equals_reference,
    assert_reports_reference,
    largest_difference,
    report_of,
)
from tests.engine.driver import Ask, Engine, Spare
from tests.reference import reference_generate

UNSUPPORTED = {"applied": False, "reason": "unsupported_attention", "layers": []}
CHECKPOINTS: dict[str, tuple[Geometry, dict[int, str]]] = {
    "window in every layer": (SLIDING_WINDOW, dict.fromkeys(range(3), "sliding window")),
    "window in every other layer": (ALTERNATING_WINDOW, {0: "sliding window", 2: "sliding window"}),
    "soft cap": (SOFT_CAP, dict.fromkeys(range(3), "soft cap")),
}
"""Each with the layers that EAH cannot change, and why."""


@pytest.fixture(scope="module", params=list(CHECKPOINTS))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spare: Spare
) -> tuple[Path, dict[int, str], Engine]:
    geometry, refused = CHECKPOINTS[request.param]
    path = make_llava(tmp_path_factory.mktemp("checkpoint"), geometry)
    return path, refused, spare.serving(path, additional_config={"eah": {"prefix_reuse": True}})


@pytest.mark.parametrize("layers", [[0], [1], [0, 1]])
def test_only_plain_causal_layers_are_changed(served: tuple[Path, dict[int, str], Engine], layers: list[int]) -> None:
    checkpoint, refused, engine = served
    images, eah = [random_image(400)], {"layer": layers, "relative_threshold": 1.0}
    on, plain = (reference_generate(checkpoint, LONG_IMAGE_PROMPT, images, options) for options in (eah, None))
    assert len(plain.prompt_token_ids) > (SLIDING_WINDOW.sliding_window or 0)
    assert_eah_matters(on, plain)  # an engine that broadcast in an unsupported layer would be seen

    asks = [Ask(LONG_IMAGE_PROMPT, images, eah | {"report": 1, "tag": "ask"}), Ask(LONG_IMAGE_PROMPT, images)]
    for again in (False, True):  # the second time from the cache
        changed, unchanged = engine.generate(asks)
        assert_equals_reference(unchanged, plain)
        assert (changed.cached_tokens > 0) == again
        first = next((layer for layer in layers if layer in refused), None)
        if first is None:
            assert_equals_reference(changed, on)
            assert_reports_reference(report_of(engine, "ask"), on, reused=again)
        else:
            assert_equals_reference(changed, plain)
            assert report_of(engine, "ask") == UNSUPPORTED | {"detail": f"layer {first}: {refused[first]}"}


@pytest.mark.parametrize(
    ("geometry", "without"),
    [
        (SLIDING_WINDOW, {"sliding_window": None}),
        (ALTERNATING_WINDOW, {"windowed_layers": ()}),
        (SOFT_CAP, {"soft_cap": None}),
    ],
    ids=list(CHECKPOINTS),
)
def test_the_reference_has_them(geometry: Geometry, without: dict[str, Any], tmp_path: Path) -> None:
    """Same weights without window or cap, other answers: so the engine, equal to the reference, has them too."""
    images = [random_image(400)]
    paths = [make_llava(tmp_path / "with", geometry), make_llava(tmp_path / "without", replace(geometry, **without))]
    first, second = (
        reference_generate(path, LONG_IMAGE_PROMPT, images, max_tokens=1).first_token_logprobs for path in paths
    )
    assert largest_difference(dict(enumerate(first.tolist())), second) > 0.1
