"""Which bodies have pictures, and what becomes of a wish to cut their prompt."""

from __future__ import annotations

from typing import Any

import pytest
from eah_vllm_server.truncation import never_cut_pictures
from vllm.exceptions import VLLMValidationError

TEXT = {"role": "user", "content": [{"type": "text", "text": "an image"}]}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
INPUT_PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,"}
WITH_PICTURES: list[dict[str, Any]] = [
    {"messages": [TEXT, {"role": "user", "content": [PICTURE]}]},
    {"messages": [{"role": "user", "content": [{"image_url": "data:"}]}]},
    {"messages": [{"role": "tool", "content": [PICTURE]}]},
    {"messages": [[TEXT], [{"role": "user", "content": [PICTURE]}]]},
    {"messages": [{"role": "user", "content": [{"type": "image_embeds", "image_embeds": "x"}]}]},
    {"input": [{"role": "user", "content": [INPUT_PICTURE]}]},
    {"input": [{"type": "function_call_output", "call_id": "a", "output": [INPUT_PICTURE]}]},
    {"input": "and now?", "previous_response_id": "resp_1"},
]
WITHOUT: list[dict[str, Any]] = [
    {"messages": [TEXT]},
    {"messages": [{"role": "user", "content": "an image_url"}]},
    {"messages": [[TEXT]]},
    {"input": "an image"},
    {"input": [{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "a"}]},
    {"prompt": "an image"},
]


@pytest.mark.parametrize("fields", WITH_PICTURES, ids=str)
def test_a_prompt_with_a_picture_is_not_cut_to_a_length(fields: dict[str, Any]) -> None:
    for length in (0, 1, 50, 10_000, "1"):
        with pytest.raises(VLLMValidationError, match="truncate_prompt_tokens: a prompt with a picture") as refused:
            never_cut_pictures(fields | {"truncate_prompt_tokens": length})
        assert refused.value.parameter == "truncate_prompt_tokens"


@pytest.mark.parametrize("fields", WITH_PICTURES, ids=str)
def test_a_prompt_with_a_picture_that_does_not_fit_is_refused_by_vllm(fields: dict[str, Any]) -> None:
    assert never_cut_pictures(fields) == fields
    cut = fields | {"truncate_prompt_tokens": -1, "truncation": "auto"}
    assert never_cut_pictures(cut) == fields | {"truncate_prompt_tokens": None, "truncation": "disabled"}


@pytest.mark.parametrize("fields", WITHOUT, ids=str)
def test_text_is_cut_as_vllm_cuts_it(fields: dict[str, Any]) -> None:
    for length in (None, -1, 1):
        asked = fields | {"truncate_prompt_tokens": length, "truncation": "auto"}
        assert never_cut_pictures(asked) is asked
