"""What is asked while something breaks, and whether an answer is the right one, an error that shows, or neither."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eah_vllm.scenes.captions import caption_request
from eah_vllm.scenes.world import make_scene
from tests.faults.http import Reply, ask
from tools.serving import image_message

MODEL = "scenes"
FIRST_SEED = 7_000_000
MANY_TOKENS = 150
"""Of a long answer: something can be broken in the middle of it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    body: dict[str, Any]
    eah: bool

    @property
    def stream(self) -> bool:
        """The answer comes in pieces."""
        return bool(self.body["stream"])


@dataclass(frozen=True, slots=True)
class Answer:
    """All that must be the same in every answer to one request."""

    tokens: tuple[int, ...]
    text: str
    finish_reason: str | None
    report: Any


def make_asks(count: int, *, long: bool = False, eah: bool = True) -> list[Ask]:
    """Different pictures; streams and not, EAH by the field, by the alias and off, in turn."""
    asks = []
    for idx in range(count):
        messages = image_message(make_scene(FIRST_SEED + idx).pil(), caption_request(random.Random(idx)))
        body: dict[str, Any] = {"model": MODEL, "messages": messages, "temperature": 0, "return_token_ids": True}
        body |= {"stream": idx % 2 == 0, "max_tokens": MANY_TOKENS if long else 40, "ignore_eos": long}
        with_eah = eah and idx // 2 % 3 != 2
        if with_eah:
            body["eah"] = {"report": True}
            if idx // 2 % 3 == 1:
                body["model"] += ":eah"
        asks.append(Ask(body, with_eah))
    return asks


def read(reply: Reply, stream: bool) -> Answer:
    """The answer of a complete reply of status 200."""
    parts = reply.events() if stream else [reply.json()]
    tokens: list[int] = []
    text, finish_reason, report = "", None, None
    for part in parts:
        report = part.get("eah") or report
        for choice in part["choices"]:
            tokens += choice.get("token_ids") or []
            text += (choice.get("delta") or choice.get("message"))["content"] or ""
            finish_reason = choice.get("finish_reason") or finish_reason
    return Answer(tuple(tokens), text, finish_reason, report)


async def references(port: int, asks: Sequence[Ask]) -> list[Answer]:
    """Each ask alone on the server, before anything breaks; EAH was applied, and changed something.

    Raises:
        RuntimeError: it did not, so nothing could be shown here.
    """
    answers = []
    for one in asks:
        reply = await ask(port, one.body)
        if reply.status != 200 or not reply.complete:
            raise RuntimeError(f"no reference: {reply.status} {reply.body[-300:]!r}")
        answers.append(read(reply, one.stream))
    applied = [idx for idx, one in enumerate(asks) if one.eah]
    if not all(answers[idx].report and answers[idx].report["applied"] for idx in applied):
        raise RuntimeError("EAH was not applied to the references")
    return answers


def verdict(reply: Reply, one: Ask, expected: Answer, *, torn_down: bool = False) -> str:
    """One of "exact", "refused", "broken" (an error that the client sees), or what is wrong."""
    if reply.status == 0 or not reply.complete:
        return "broken"
    error = (reply.json() or {}).get("error") if reply.status != 200 else None
    if torn_down and reply.status == 500 and reply.body == b"Internal Server Error":  # Starlette's last words
        return "broken"
    if reply.status != 200 and not (error and error.get("message")):
        return f"wrong: status {reply.status} without a message: {reply.body[:200]!r}"
    if reply.status == 503:
        return "refused" if "retry-after" in reply.headers else "wrong: 503 without Retry-After"
    if reply.status != 200:
        return "broken" if reply.status >= 500 else f"wrong: status {reply.status}: {error}"
    if one.stream and any("error" in event for event in reply.events()):
        return "broken"
    if one.stream and not reply.done:
        return "wrong: the stream ends without [DONE] and without an error"
    found = read(reply, one.stream)
    if found.finish_reason == "abort":
        return "broken"
    return "exact" if found == expected else f"wrong: {found} instead of {expected}"
