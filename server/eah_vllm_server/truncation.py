"""Prompts with pictures are never cut.

vLLM cuts the text of a prompt before it looks for the places of its pictures; a place that was cut off is an internal
error (500) there. Whether it will be cut off is known only after the picture has gone into vLLM's cache of processed
pictures, where a refused request must not leave one. So it is decided here, before anything is read.
"""

from typing import Any

from vllm.exceptions import VLLMValidationError

from eah_vllm.options import shown

TO_A_LENGTH, TO_THE_MODEL = "truncate_prompt_tokens", "truncation"
EARLIER_TURNS = ("previous_response_id", "previous_input_messages")
MEDIA = ("image", "audio", "video")
"""Part of the type, or of a field's name, of every content part that is not text."""


def never_cut_pictures(fields: Any) -> Any:
    """Refuse to cut a prompt with pictures to a length, in a body that is not yet validated; returns the body.

    `truncate_prompt_tokens: -1` and `truncation: "auto"` ask only that the prompt fits the model. They are left out
    beside pictures: a prompt that does not fit is then refused by vLLM, as without them.
    """
    if not isinstance(fields, dict) or not _may_have_pictures(fields):
        return fields
    length = fields.get(TO_A_LENGTH)
    if length is not None and length != -1:
        raise VLLMValidationError(
            f"{TO_A_LENGTH}: a prompt with a picture cannot be cut; leave it out (or send -1) and shorten the text, "
            f"got {shown(length)}",
            parameter=TO_A_LENGTH,
        )
    unsaid: dict[str, Any] = {TO_A_LENGTH: None} if length == -1 else {}
    unsaid |= {TO_THE_MODEL: "disabled"} if fields.get(TO_THE_MODEL) == "auto" else {}
    return fields | unsaid


def _may_have_pictures(fields: dict[str, Any]) -> bool:
    if any(fields.get(name) for name in EARLIER_TURNS):
        return True  # the turns are in vLLM's store, their pictures with them
    return any(_holds_media(fields.get(name)) for name in ("messages", "input"))


def _holds_media(content: Any) -> bool:
    """Whether messages, lists of messages, results of tools or content parts hold anything but text."""
    if isinstance(content, list):
        return any(_holds_media(item) for item in content)
    if not isinstance(content, dict):
        return False
    names = (*content, str(content.get("type")))
    if any(kind in name for name in names for kind in MEDIA):
        return True
    return any(_holds_media(content.get(name)) for name in ("content", "output"))
