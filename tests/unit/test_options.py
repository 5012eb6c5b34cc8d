"""The flat form of the options: what any caller of an engine may write there."""

from __future__ import annotations

from typing import Any

import pytest

from eah_vllm.options import EAHOptions, OptionError, from_extra_args, to_extra_args
from eah_vllm.settings import ModelShape, resolve


def test_there_and_back() -> None:
    options = EAHOptions(layer=[0, 2], relative_threshold=1.5, report=True)
    assert from_extra_args({"other": 1, **to_extra_args(options, "mine")}) == (options, "mine")


@pytest.mark.parametrize("tag", [[1], {}, 5, "", "x" * 129], ids=repr)
def test_a_tag_is_a_short_string(tag: Any) -> None:
    """The worker looks reports up by it: a list there once ended the engine."""
    with pytest.raises(OptionError, match="eah_tag: must be a string of 1 to 128 characters"):
        from_extra_args({"eah": 1, "eah_report": 1, "eah_tag": tag})


def test_a_refusal_does_not_repeat_megabytes() -> None:
    with pytest.raises(OptionError) as refusal:
        from_extra_args({"eah": 1, "eah_head": "x" * 10_000_000})
    assert len(str(refusal.value)) < 500


def test_a_draw_has_no_sense_without_a_random_head() -> None:
    for head in ({}, {"eah_head": "auto"}, {"eah_head": 3}):
        with pytest.raises(OptionError, match='eah_seed: must stand beside head: "random", which alone draws, got 3'):
            from_extra_args({"eah": 1, "eah_seed": 3, **head})
    for seed in (-1, 2**32, 1.5, True):
        with pytest.raises(OptionError, match=r"eah_seed: .*, got"):
            from_extra_args({"eah": 1, "eah_head": "random", "eah_seed": seed})
    options = EAHOptions(head="random", seed=2**32 - 1)
    assert from_extra_args(to_extra_args(options)) == (options, None)


def test_a_draw_belongs_to_the_head_beside_it() -> None:
    server = EAHOptions(layer=1, head="random", seed=4)
    assert EAHOptions(threshold=0.1).over(server) == EAHOptions(layer=1, head="random", seed=4, threshold=0.1)
    assert EAHOptions(head="auto").over(server) == EAHOptions(layer=1, head="auto")
    assert EAHOptions(head="random").over(server) == EAHOptions(layer=1, head="random")


def test_every_draw_has_a_cache_of_its_own() -> None:
    """The KV of later layers depends on the head."""
    asked = [EAHOptions(head="random", seed=seed) for seed in (0, 1)] + [EAHOptions(), EAHOptions(head="random")]
    prints = [resolve(options, EAHOptions(), ModelShape(4, 8)).fingerprint() for options in asked]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3], "the seed is 0 by default"
