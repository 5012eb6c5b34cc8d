"""Looks at a sentence's tokens one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from eah_vllm_server.verify.tokens import Token


class NotRead(Exception):
    """The sentence has a shape that the grammar does not know."""


class Cursor:
    """A place among tokens, from which those ahead can be seen and taken."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = list(tokens)
        self._at = 0

    def _tag(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at].tag if 0 <= at < len(self._tokens) else "end"

    def _lower(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at].lower if 0 <= at < len(self._tokens) else ""

    def _take(self, *tags: str) -> list[Token]:
        """Take tokens as long as they have one of the tags."""
        start = self._at
        while self._tag() in tags:
            self._at += 1
        return self._tokens[start : self._at]

    def _next(self, count: int = 1) -> list[Token]:
        self._at += count
        return self._tokens[self._at - count : self._at]

    def _link(self) -> int:
        """Return how many tokens join what follows: "," or "and" or ", and"."""
        count = int(self._tag() == ",")
        return count + int(self._tag(count) == "and")
