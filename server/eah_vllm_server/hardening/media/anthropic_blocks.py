"""Checks what the blocks of an Anthropic message hold.

Without a word, vLLM leaves the blocks inside a tool's result unread, drops blocks of a type that it does not know, and
drops pictures whose source it does not know.
"""

import reprlib
from typing import Any

from eah_vllm_server.hardening.media.content_parts import REFUSED_BY_DEFAULT, refuse_part

IN_TOOL_RESULTS = ("text", "image", "tool_reference")
SOURCES = ("base64", "url")


def check_blocks(request: Any) -> Any:
    """Check the blocks of a messages request that pydantic has not read yet, and return the request.

    Raises:
        VLLMValidationError: vLLM would drop a block, or a picture because of its source.
    """
    messages = request.get("messages") if isinstance(request, dict) else None
    for message in messages if isinstance(messages, list) else ():
        for block in _objects(message.get("content") if isinstance(message, dict) else None):
            _check_source(block)
            if block.get("type") != "tool_result":
                continue
            for inner in _objects(block.get("content")):
                kind = inner.get("type")
                if kind not in IN_TOOL_RESULTS:
                    known = ", ".join(IN_TOOL_RESULTS)
                    refuse_part("type", f"{reprlib.repr(kind)} is no block of a tool's result; known are {known}")
                for field in sorted(REFUSED_BY_DEFAULT & inner.keys()):
                    refuse_part(field, f"{field} is no field of a block")
                _check_source(inner)
    return request


def _objects(content: Any) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _check_source(block: dict[str, Any]) -> None:
    if block.get("type") != "image":
        return
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if kind not in SOURCES:
        refuse_part("source", f"a picture's source must be of type {' or '.join(SOURCES)}, got {reprlib.repr(kind)}")
