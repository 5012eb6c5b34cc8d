"""Which test files run in one job, and the order in which `make test` gives files to its jobs.

Most files spend most of their time on starting vLLM. Those that share an engine or a server therefore run in one job,
and those that take long come first, so that no job is left alone with one of them at the end.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent
TOGETHER: dict[str, tuple[str, ...]] = {
    "two processes that serve families": (
        "models/test_families.py",
        "models/test_any_model.py",
        "models/test_converted.py",
        "models/test_hybrid.py",
        "models/test_long_context.py",
        "models/test_video.py",
    ),
    "gqa_engine, spare and spare_v2": (
        "engine/test_whole_prompts.py",
        "engine/test_features_speculative.py",
        "engine/test_matches_reference.py",
        "engine/test_bursts.py",
        "engine/test_encoder_disaggregation.py",
        "engine/test_features_conversation.py",
        "engine/test_features_inputs.py",
        "engine/test_features_other_attention.py",
        "engine/test_features_output.py",
        "engine/test_features_precision.py",
        "engine/test_features_prefix_cache.py",
        "engine/test_features_reuse.py",
        "engine/test_features_sleep.py",
        "engine/test_parity.py",
        "engine/test_preemption.py",
        "engine/test_prefix_reuse.py",
        "engine/test_random_head.py",
        "engine/test_requests.py",
        "engine/test_row_methods.py",
    ),
    "eah-vllm serve": (
        "server/test_evaluation.py",
        "server/test_verified_captions.py",
        "server/test_captioning.py",
        "server/test_pages.py",
    ),
    "a roomy server": ("server/test_verify.py", "server/test_evaluation_tasks.py"),
    "hardened and bare": ("server/test_hardening.py", "server/test_verify_pictures.py"),
    "a tiny server": ("server/test_openai_client.py", "server/test_content_parts.py"),
}
"""Files that use what a fixture starts once for a whole session, in the order in which they run."""
SLOW = (
    "server/test_unseen_geometry.py",
    "browser/test_playground.py",
    "browser/test_views.py",
    "engine/test_other_runners.py",
    "engine/test_row_methods_other_runners.py",
    "engine/test_gpu_check.py",
)
"""Other files that take longest."""
QUICK = ("contract/", "unit/")
"""Folders whose files come last."""
FIRST = [*(name for names in TOGETHER.values() for name in names), *SLOW]


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return all tests with slow files first and quick ones last."""

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.relative_to(TESTS).as_posix()
        return FIRST.index(name) if name in FIRST else len(FIRST), name.startswith(QUICK)

    return sorted(items, key=place)


def unit(file: str) -> str:
    """Return what a job gets at once: all files of a row of `TOGETHER`, or one file."""
    name = file.removeprefix("tests/")
    return next((shared for shared, names in TOGETHER.items() if name in names), name)


class Scheduler(LoadFileScheduling):
    """Gives jobs what `unit` says."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(super()._split_scope(nodeid))
