"""Captions of `WordTask` that were checked, as a server's replies have them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.task import Answer
from tests.unit.evaluation_case import NOUN


def remove(text: str, mentions: Sequence[Mapping[str, Any]], denied: Collection[str]) -> str:
    """Take " and a NOUN" out, in the words of `WordTask`; written apart from the server's code."""
    assert all(text[one["start"] : one["end"]] == one["text"] for one in mentions)
    kept = [part for part in text.split(" and ") if part.removeprefix("a ") not in denied]
    return " and ".join(kept)


def verified(text: str, p_yes: Mapping[str, float], threshold: float = 0.5, *, rewrite: bool = True) -> Answer:
    """The answer of a server that checked a text: every noun is asked about, the first `p_yes` below it is denied."""
    mentions: list[dict[str, Any]] = [
        {
            "text": match[0],
            "start": match.start(),
            "end": match.end(),
            "object": match[0],
            "p_yes": p_yes[match[0]],
            "verdict": "denied" if p_yes[match[0]] < threshold else "confirmed",
        }
        for match in NOUN.finditer(text)
    ]
    denied = list(dict.fromkeys(one["object"] for one in mentions if one["verdict"] == "denied"))
    after = remove(text, mentions, denied) if rewrite else text
    report = {
        "mentions": mentions, "denied": denied, "asked": len(p_yes), "tokens": 40 * len(mentions),
        "cached_tokens": 32 * len(mentions), "action": "rewrite" if rewrite else "report", "changed": after != text,
        "original": text,
    }  # fmt: skip
    return Answer(after, "stop", 9, 0.1, None, report)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
