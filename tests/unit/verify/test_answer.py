"""What counts as the text of a reply, in each form of the API."""

from __future__ import annotations

from typing import Any

import pytest
from eah_vllm_server.verify.answer import AnswerText, text_places

CHAT = {
    "object": "chat.completion",
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "A dog.", "reasoning": "A cat?", "tool_calls": []}}],
}
TOOLS = {"model": "m", "choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": "dog"}}]}}]}
RESPONSE = {
    "object": "response",
    "model": "m",
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "A cat?"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "A "}, {"type": "refusal", "refusal": "no"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "dog."}]},
        {"type": "function_call", "name": "dog", "arguments": "{}"},
    ],
}
MESSAGE = {
    "type": "message",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "A cat?"},
        {"type": "text", "text": "A dog."},
        {"type": "tool_use", "name": "dog", "input": {}},
    ],
}


@pytest.mark.parametrize(
    ("reply", "text", "blocks"), [(CHAT, "A dog.", 1), (TOOLS, "", 0), (RESPONSE, "A dog.", 2), (MESSAGE, "A dog.", 1)]
)
def test_the_text_of_a_whole_reply(reply: dict[str, Any], text: str, blocks: int) -> None:
    answer = AnswerText()
    answer.see(reply)
    assert (answer.text, answer.blocks, answer.model) == (text, blocks, "m")
    for holder, name in text_places(reply):
        assert holder[name] in text


def test_the_text_of_streams() -> None:
    def chunk(**delta: Any) -> dict[str, Any]:
        return {"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": delta}]}

    chats = [chunk(role="assistant", content=""), chunk(reasoning="A cat?"), chunk(content="A "), chunk(content="dog.")]
    chats += [chunk(tool_calls=[{}]), {"object": "chat.completion.chunk", "model": "m", "choices": [], "usage": {}}]
    responses = [
        {"type": "response.created", "response": {"model": "m", "output": []}},
        {"type": "response.reasoning_text.delta", "delta": "A cat?"},
        {"type": "response.output_text.delta", "delta": "A dog."},
        {"type": "response.completed", "response": RESPONSE},
    ]
    messages = [
        {"type": "message_start", "message": {"model": "m", "content": []}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "A cat?"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "A dog."}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    for events in (chats, responses, messages):
        answer = AnswerText()
        for event in events:
            answer.see(event)
        assert (answer.text, answer.model, answer.failed) == ("A dog.", "m", False)


def test_errors_have_no_text() -> None:
    answer = AnswerText()
    for event in ({"error": {"message": "no"}}, {"type": "error", "message": "no"}, {"type": "response.failed"}):
        answer.see(event)
    assert (answer.text, answer.failed) == ("", True)
