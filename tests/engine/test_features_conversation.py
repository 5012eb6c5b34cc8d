"""Several turns, with prefix caching: the whole conversation is the prompt, and EAH acts on its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.checkpoints import random_image
from tests.engine.asks import EAH
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference, report_of
from tests.engine.driver import Engine
from tests.reference import reference_generate

BLOCK = 32
IMAGE = {"type": "image"}


def turn(role: str, text: str, *parts: dict[str, str]) -> dict[str, Any]:
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


CONVERSATIONS = {
    "image in the first turn": [
        turn("user", "What stands beside the cup?", IMAGE),
        turn("assistant", "A small brown dog stands beside the green cup."),
        turn("user", "Is there a book on the table?"),
        turn("assistant", "Yes, there is an open book."),
        turn("user", "Please describe this image in detail."),
    ],
    "image in the second turn": [
        turn("user", "Hello, can you see images?"),
        turn("assistant", "Yes, send one and ask."),
        turn("user", "Please describe this image in detail.", IMAGE),
    ],
    "an image in each turn": [
        turn("user", "What is in the image?", IMAGE),
        turn("assistant", "The picture shows a red car."),
        turn("user", "And in this image?", IMAGE),
    ],
}


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=list(CONVERSATIONS))
def test_conversation_equals_reference_cold_and_warm(
    gqa_checkpoint: Path, gqa_engine: Engine, messages: list[dict[str, Any]]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gqa_checkpoint)
    num_images = sum(part == IMAGE for message in messages for part in message["content"])
    images = [random_image(700 + idx) for idx in range(num_images)]

    def prompt(num_messages: int) -> str:
        text: str = tokenizer.apply_chat_template(messages[:num_messages], tokenize=False, add_generation_prompt=True)
        return text.removeprefix(tokenizer.bos_token)  # the tokenizer puts it there

    whole = prompt(len(messages))
    on, plain = (reference_generate(gqa_checkpoint, whole, images, eah) for eah in (EAH, None))
    assert_eah_matters(on, plain)

    # The first turn as a client would have sent it, answered both ways: its blocks are in the cache.
    first_turn = prompt(1)
    for eah in (None, EAH):
        gqa_engine.one(first_turn, images[: first_turn.count("<image>")], eah)
    for _ in range(2):
        off = gqa_engine.one(whole, images)
        assert_equals_reference(off, plain)
        got = gqa_engine.one(whole, images, EAH | {"report": 1, "tag": "turns"})
        assert_equals_reference(got, on)
        assert got.cached_tokens == 0, "EAH needs every prompt row"
        assert_reports_reference(report_of(gqa_engine, "turns"), on)
    assert off.cached_tokens >= BLOCK, "plain conversations must keep their prefix cache"
