"""The extractor `nouns`: every noun phrase of an English text, by spaCy, if spaCy and its model are installed.

Neither is among this project's extras: spaCy's models are published on GitHub alone, and the packages of their names in
the package index are copies by strangers, which would run as code.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from eah_vllm_server.verify.lexicon import IMAGE_WORDS
from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.negation import negated_parts

MODEL = "en_core_web_sm"
INSTALL = (
    f"the extractor `nouns` needs spaCy and its model {MODEL}, which are not installed: `pip install spacy` and "
    f"`python -m spacy download {MODEL}`; or choose `words` or `model`"
)
_NO_OBJECTS = IMAGE_WORDS - {"street", "kitchen", "beach", "park"} | {
    *("left", "right", "middle", "center", "centre", "front", "side", "top", "bottom", "corner", "edge", "atmosphere"),
}


class NounExtractor:
    """Finds the heads of noun phrases, with the nouns that stand before them ("traffic light").

    Raises:
        ValueError: spaCy or its model is not installed.
    """

    name = "nouns"

    def __init__(self) -> None:
        if not all(importlib.util.find_spec(package) for package in ("spacy", MODEL)):
            raise ValueError(INSTALL)
        self._read: Any = importlib.import_module(MODEL).load(exclude=["ner"])

    async def find(self, answer: str) -> list[Mention]:
        """Return the mentions in order of their start."""
        lower = "".join(small if len(small := c.lower()) == 1 else c for c in answer)  # places must stay the same
        negated = negated_parts(lower)
        found = []
        for chunk in self._read(answer).noun_chunks:
            head = chunk.root
            if head.pos_ not in ("NOUN", "PROPN") or head.lemma_.lower() in _NO_OBJECTS:
                continue
            first = head.i
            while first > chunk.start and head.doc[first - 1].dep_ == "compound":
                first -= 1
            words = head.doc[first : head.i + 1]
            start, end = words.start_char, words.end_char
            if not any(begin <= start < stop for begin, stop in negated):
                name = (words.text[: head.idx - start] + head.lemma_).lower()
                found.append(Mention(answer[start:end], start, end, name))
        return found
