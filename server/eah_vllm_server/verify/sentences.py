"""Splits an answer into sentences, and puts those that are left together again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

_MARKER = re.compile(r"(?:(?:[-*\u2022]|\d{1,3}[.)]|#{1,6})[ \t]+)?(?:\*\*[^*\n]{1,60}(?::\*\*|\*\*:)[ \t]+)?")
_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\be\.g)(?<!\bi\.e)"
    r"""(?:[.!?\u2026]+["'\u201d\u2019)\]*]*(?=\s|$)|[\u3002\uff01\uff1f]["\u201d\u2019]*|:\**(?=\s*(?:\n|$)))"""
    r"|(?=\s*\n)|$"
)
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A part of an answer, `answer[start:end]`, with what stands around it.

    Attributes:
        marker: what stands before it at the start of a line, such as a list's "- ".
        start: index of its first code point.
        end: index after the last one, without the closing sign.
        close: the closing sign, empty where a line or the answer ends without one.
        gap: the white space after it.
    """

    marker: str
    start: int
    end: int
    close: str
    gap: str


def split(answer: str) -> list[Sentence]:
    """Return the sentences of an answer in order; `join` makes the whole answer of them again."""
    sentences: list[Sentence] = []
    at = len(answer) - len(answer.lstrip())
    marker, line_start = answer[:at], True
    while at < len(answer):
        if line_start and (match := _MARKER.match(answer, at)):
            marker, at = marker + match[0], match.end()
        end = _END.search(answer, at)
        assert end is not None, "the pattern also matches the end"
        space = _SPACE.match(answer, end.end())
        assert space is not None, "the pattern also matches nothing"
        sentences.append(Sentence(marker, at, end.start(), end[0], space[0]))
        marker, at, line_start = "", space.end(), "\n" in space[0]
    return sentences


def join(sentences: Sequence[Sentence], texts: Sequence[str | None]) -> str:
    """Return the text of sentences and what each has become; None for one that is gone.

    A mark at the start of a line goes with the line's last sentence, and a list's heading with the last item under it.
    """
    left: list[tuple[Sentence, str]] = []
    marker = ""
    for i, (sentence, text) in enumerate(zip(sentences, texts, strict=True)):
        marker = sentence.marker or marker
        if text is None or _heads_nothing(i, sentences, texts):
            if left:
                gap = max(left[-1][0].gap, sentence.gap, key=lambda space: space.count("\n"))
                left[-1] = (replace(left[-1][0], gap=gap), left[-1][1])
            marker = "" if "\n" in sentence.gap else marker
            continue
        left.append((replace(sentence, marker=marker), text))
        marker = ""
    if left:
        left[-1] = (replace(left[-1][0], gap=sentences[-1].gap), left[-1][1])
    return "".join(f"{s.marker}{text}{s.close}{s.gap}" for s, text in left)


def _heads_nothing(i: int, sentences: Sequence[Sentence], texts: Sequence[str | None]) -> bool:
    if not sentences[i].close.startswith(":"):
        return False
    under = []
    for sentence, text in zip(sentences[i + 1 :], texts[i + 1 :], strict=True):
        if sentence.marker.strip():
            under.append(text)
        elif not under or ("\n" in sentences[i].gap and sentences[i + 1 + len(under) - 1].gap.count("\n") > 1):
            break
        else:
            under.append(text)
    return bool(under) and all(text is None for text in under)
