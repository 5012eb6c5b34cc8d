"""Content parts whose value a server might open or fetch: what no documentation names, in every place for parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import CHAT, RESPONSES, Case, as_json, chat

TEXT = {"type": "text", "text": "dog ?"}


def cases(trap_port: int, silent_port: int) -> Iterator[Case]:
    """All of them.

    Args:
        trap_port: where a listener of the test counts who comes.
        silent_port: where another one takes connections and never answers.
    """
    for place, address in (
        ("an address", f"http://127.0.0.1:{trap_port}/x.png"),
        ("a silent address", f"http://127.0.0.1:{silent_port}/x.png"),
        ("a file", "/etc/hostname"),
    ):
        for name, part in _parts(address).items():
            for where, path, body in _places(part):
                yield Case(f"part: {name}, {place}, {where}", "part", as_json(body), path=path)
    for kind in ("image_url", "audio_url", "video_url"):
        for value in (7, [1], {"url": 7}, {"url": ["http://127.0.0.1/"]}, {"url": {"url": "x"}}, True):
            part = {"type": kind, kind: value, "uuid": "a"}
            yield Case(f"part: named {kind} {value}", "part", as_json(_chat([part, TEXT])), mentions=(kind,))
    for kind in (7, None, [], {"a": 1}, "", "IMAGE_URL", "image", "file", "input_file", "vision_chunk", "x" * 10_000):
        part = {"type": kind, "image": "x"}
        yield Case(f"part: type {str(kind)[:20]!r}", "part", as_json(_chat([part, TEXT])), mentions=("type",))


def _parts(address: str) -> dict[str, dict[str, Any]]:
    return {
        "image_pil": {"type": "image_pil", "image_pil": address},
        "image_pil without type": {"image_pil": address},
        "image_pil, a list": {"type": "image_pil", "image_pil": [address]},
        "image_pil with a name": {"type": "text", "text": "a", "image_pil": address, "uuid": "a"},
        "image_embeds": {"type": "image_embeds", "image_embeds": address},
        "video_embeds": {"type": "video_embeds", "video_embeds": {"video_embeds": address}},
        "prompt_embeds": {"type": "prompt_embeds", "data": address},
        "image": {"type": "image", "image": address},
    }


def _chat(content: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": content}])


def _places(part: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where it stands, route, body."""
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = [{"role": "user", "content": "look"}, {"role": "assistant", "tool_calls": [call]}]
    yield "chat", CHAT, _chat([part, TEXT])
    yield "tool", CHAT, chat(messages=[*asked, {"role": "tool", "tool_call_id": "a", "content": [part]}])
    yield "batch", "/v1/chat/completions/batch", chat(messages=[[{"role": "user", "content": [TEXT, part]}]])
    yield "invocations", "/invocations", _chat([part, TEXT])
    yield "tokenize", "/tokenize", {"model": "scenes", "messages": [{"role": "user", "content": [part]}]}
    yield "responses", RESPONSES, {"model": "scenes", "input": [{"role": "user", "content": [part]}]}
    result = [{"type": "tool_result", "tool_use_id": "a", "content": [part]}]
    yield "messages", "/v1/messages", chat(messages=[{"role": "user", "content": result}])
