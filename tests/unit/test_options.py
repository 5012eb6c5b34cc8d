"""The flat form of the options: what any caller of an engine may write there."""

from __future__ import annotations

from typing import Any

import pytest

from eah_vllm.options import EAHOptions, OptionError, from_extra_args, to_extra_args


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
