"""Tensor parallel 2 over one key/value head: ranks copy it, and still agree on one source head, also from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import LONG_IMAGE_PROMPT as PROMPT
from tests.checkpoints import ONE_KV_HEAD, make_llava, random_image
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference
from tests.engine.driver import Ask, Engine
from tests.reference import reference_generate

SETTINGS = [
    {"layer": 0, "relative_threshold": 1.5},
    {"layer": 1, "relative_threshold": 1.5},
    {"layer": 1, "relative_threshold": 2.5},
    {"layer": [0, 2], "relative_threshold": 2.0},
    {"layer": 2, "relative_threshold": 1.5, "head": "sparsest"},
    {"layer": 1, "relative_threshold": 1.5, "head": 7},
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("one_kv_head"), ONE_KV_HEAD)


@pytest.fixture(scope="module")
def two_ranks(checkpoint: Path) -> Iterator[Engine]:
    options = {"tensor_parallel_size": 2, "additional_config": {"eah": {"prefix_reuse": True}}}
    with Engine(checkpoint, env={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, **options) as engine:
        yield engine


def test_two_ranks_equal_reference(checkpoint: Path, two_ranks: Engine) -> None:
    images = [random_image(600)]
    plain = reference_generate(checkpoint, PROMPT, images)
    expected = [reference_generate(checkpoint, PROMPT, images, eah) for eah in SETTINGS]
    for reference in expected:
        assert_eah_matters(reference, plain)
    heads = {layer.head for reference in expected for layer in reference.report}
    assert {head // (ONE_KV_HEAD.num_heads // 2) for head in heads} == {0, 1}, f"heads {heads} live on one rank"

    asks = [Ask(PROMPT, images, eah | {"report": 1, "tag": f"ask-{idx}"}) for idx, eah in enumerate(SETTINGS)]
    for again in (False, True):
        *on, off = two_ranks.generate([*asks, Ask(PROMPT, images)])
        reports = two_ranks.collect(*(f"ask-{idx}" for idx in range(len(SETTINGS))))["reports"]
        assert_equals_reference(off, plain)
        for idx, (got, reference) in enumerate(zip(on, expected, strict=True)):
            assert_equals_reference(got, reference)
            assert (got.cached_tokens > 0) == again
            assert_reports_reference(reports[f"ask-{idx}"], reference, reused=again)
