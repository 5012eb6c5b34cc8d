"""float16, bfloat16 and an FP8 KV cache: the head that float32 chooses, and answers that lean to the EAH side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import LONG_IMAGE_PROMPT, random_image
from tests.engine.compare import assert_reports_reference, largest_difference
from tests.engine.driver import Ask, Engine, Spare
from tests.reference import ReferenceOutput, reference_generate

PREFIX_REUSE = {"additional_config": {"eah": {"prefix_reuse": True}}}
# Engine options, and how far a column's mean attention (about 0.02 on average) must be from the threshold in float32
# so that this precision finds the same sinks.
PRECISIONS: dict[str, tuple[dict[str, Any], float]] = {
    "float16": ({"dtype": "float16"} | PREFIX_REUSE, 1e-3),
    "bfloat16": ({"dtype": "bfloat16"} | PREFIX_REUSE, 4e-3),
    "fp8_kv_cache": ({"dtype": "bfloat16", "kv_cache_dtype": "fp8"}, 8e-3),
}
SETTINGS = [{"layer": layer, "relative_threshold": threshold} for layer in (0, 1, 2) for threshold in (3.0, 4.0, 5.0)]


@dataclass(frozen=True)
class Case:
    """One image under one setting, as float32 answers it."""

    image: Image.Image
    eah: dict[str, Any]
    on: ReferenceOutput
    off: ReferenceOutput


@pytest.fixture(scope="module")
def cases(gqa_checkpoint: Path) -> list[Case]:
    found = []
    for image in map(random_image, range(500, 512)):
        off = reference_generate(gqa_checkpoint, LONG_IMAGE_PROMPT, [image], max_tokens=1)
        for eah in SETTINGS:
            on = reference_generate(gqa_checkpoint, LONG_IMAGE_PROMPT, [image], eah, max_tokens=1)
            found.append(Case(image, eah, on, off))
    return [case for case in found if case.on.report[0].applied]


@pytest.fixture(scope="module", params=list(PRECISIONS))
def served(request: pytest.FixtureRequest, gqa_checkpoint: Path, spare: Spare) -> tuple[Engine, float, bool]:
    """An engine, the margin of its precision, and whether it reuses prefixes."""
    options, margin = PRECISIONS[request.param]
    return spare.serving(gqa_checkpoint, **options), margin, "additional_config" in options


def test_low_precision_follows_float32(served: tuple[Engine, float, bool], cases: list[Case]) -> None:
    engine, margin, reuse = served
    clear = [case for case in cases if case.on.report[0].margin > margin]
    assert {case.eah["layer"] for case in clear} == {0, 1, 2}, "too few clear cases"
    asks = [
        Ask(LONG_IMAGE_PROMPT, [case.image], case.eah | {"report": 1, "tag": f"case-{idx}"}, max_tokens=4)
        for idx, case in enumerate(clear)
    ]
    off = engine.generate([Ask(ask.prompt, ask.images, max_tokens=4) for ask in asks])
    # With prefix_reuse the second time reads the cache, with the head of the first.
    for again in (False, True) if reuse else (False,):
        on = engine.generate(asks)
        assert all((answer.cached_tokens > 0) == again for answer in on)
        assert [answer.tokens for answer in on] != [answer.tokens for answer in off], "EAH had no effect here"
        reports = engine.collect(*(f"case-{idx}" for idx in range(len(clear))))["reports"]
        for idx, case in enumerate(clear):
            assert_reports_reference(reports[f"case-{idx}"], case.on, reused=again)
            for got, expected, other in ((on[idx], case.on, case.off), (off[idx], case.off, case.on)):
                assert all(math.isfinite(logprob) for row in got.logprobs for logprob in row.values())
                error = largest_difference(got.first_logprobs, expected.first_token_logprobs)
                assert error < largest_difference(got.first_logprobs, other.first_token_logprobs)
