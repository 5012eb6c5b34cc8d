"""Texts made comparable, with the way back to the places of the original.

Two spellings of a word are equal after folding: upper and lower case, composed and combining accents, "ß" and "ss",
typographic apostrophes, hyphens and spaces. A folded text may be longer or shorter than its original.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_SAME = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2018": "'", "\u2010": "-", "\u2011": "-"})
_JOINERS = "\u200d\ufe0e\ufe0f"
_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


def spaceless(character: str) -> bool:
    """Say whether a character is of a script that writes no spaces between words."""
    return any(first <= ord(character) <= last for first, last in _SPACELESS)


def fold(text: str) -> str:
    """Return a text in the form in which words are compared."""
    return Folded(text).text


@dataclass(frozen=True, init=False)
class Folded:
    """A folded text that knows where each of its characters comes from.

    Attributes:
        text: the folded text.
    """

    text: str
    _starts: tuple[int, ...]
    _ends: tuple[int, ...]

    def __init__(self, original: str) -> None:
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for start, end in _clusters(original):
            piece = original[start:end]
            if piece.isascii():
                piece = piece.lower()
            else:
                piece = unicodedata.normalize("NFKC", piece).casefold().translate(_SAME)
                piece = unicodedata.normalize("NFC", piece)
            pieces.append(piece)
            starts += [start] * len(piece)
            ends += [end] * len(piece)
        object.__setattr__(self, "text", "".join(pieces))
        object.__setattr__(self, "_starts", tuple(starts))
        object.__setattr__(self, "_ends", tuple(ends))

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the place in the original of a part that is not empty, None if it cuts one character in two."""
        first, last = self._starts[start], self._ends[end - 1]
        cut_before = start > 0 and self._starts[start - 1] == first
        cut_after = end < len(self.text) and self._ends[end] == last
        return None if cut_before or cut_after else (first, last)


def _clusters(text: str) -> list[tuple[int, int]]:
    """Split a text into characters with the marks that belong to them."""
    starts = [i for i, c in enumerate(text) if i == 0 or not _continues(c)]
    return list(zip(starts, [*starts[1:], len(text)][: len(starts)], strict=True))


def _continues(character: str) -> bool:
    if character.isascii():
        return False
    joins = character in _JOINERS or unicodedata.category(character).startswith("M")
    return joins or 0x1160 <= ord(character) <= 0x11FF  # the later letters of a Korean syllable
