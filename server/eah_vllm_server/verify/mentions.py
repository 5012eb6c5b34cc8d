"""What a mention is, and the small interface of what finds mentions in an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Mention:
    """A place where an answer names an object.

    Attributes:
        text: the answer's own words, `answer[start:end]`.
        start: index of the first code point.
        end: index after the last code point.
        object: the name that the question asks about, the same for all words of one object.
    """

    text: str
    start: int
    end: int
    object: str


@dataclass(frozen=True)
class TextCall:
    """A call to the served model that carries text alone.

    Attributes:
        prompt: the user's message.
        max_tokens: most tokens that the reply may have.
        json_schema: schema that the reply must follow, if it must be JSON.
    """

    prompt: str
    max_tokens: int
    json_schema: Mapping[str, Any] | None = None


AskModel = Callable[[TextCall], Awaitable[str]]
"""Sends one plain greedy call to the served model and returns its text."""


class MentionError(ValueError):
    """The mentions of an answer cannot be found; the message says why."""


class Extractor(Protocol):
    """Finds the places where an answer claims that an object is there."""

    name: str

    async def find(self, answer: str) -> list[Mention]:
        """Return the mentions in order of their start; they never overlap.

        Raises:
            MentionError: they cannot be found in this answer.
        """
        ...
