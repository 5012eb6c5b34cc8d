"""CHAIR's mentions: which categories a caption names, as the chair.py that the field uses finds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import nltk
from nltk.stem import WordNetLemmatizer
from nltk.tokenize import NLTKWordTokenizer

from eah_vllm.evaluation.task import TaskError
from eah_vllm.evaluation.tasks.plurals import plurals
from eah_vllm.evaluation.tasks.word_list import Words

NLTK_DATA = "python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng wordnet"


@dataclass(frozen=True)
class Mention:
    """A category that a caption names, and the place `[start, end)` of its words."""

    category: str
    start: int
    end: int


class CaptionReader:
    """Finds the categories that a caption names.

    Args:
        words: the list of words.
        lemmas: how words are brought to the form in the list. `plural` makes plural nouns singular, as in the first
           chair.py, and works offline. `nltk` uses part-of-speech tags and WordNet, as in OPERA's chair.py and in
           lmms-eval; it takes verbs for objects ("seated" is a chair there) and needs NLTK's data.

    Raises:
        TaskError: `nltk` is asked for and its data are not there.
    """

    def __init__(self, words: Words, lemmas: str = "plural") -> None:
        self.words = words
        self._tokenizer = NLTKWordTokenizer()
        singles = {part for word in (*words.category_of, *words.pairs) for part in word.split()}
        self._singular = {plural: word for word in singles for plural in plurals(word) if plural not in singles}
        self._read: Callable[[str], tuple[Sequence[str], Sequence[str]]]
        self._read = {"plural": self._singulars, "nltk": _lemmas}[lemmas]
        try:
            self._read("two cats.")
        except LookupError:
            raise TaskError(f"--lemmas nltk needs NLTK's data: {NLTK_DATA}") from None

    def mentions(self, caption: str) -> list[Mention]:
        """Return every mention, in order; a category that is named twice is there twice."""
        text = caption.lower()
        tokens, forms = self._read(text)
        places = _places(text, tokens)
        read, at = self._join(forms)
        if "toilet" in read and "seat" in read:  # "the seat of the toilet" names no chair
            at = [place for word, place in zip(read, at, strict=True) if word != "seat"]
            read = [word for word in read if word != "seat"]
        return [
            Mention(self.words.category_of[word], places[first][0], places[last][1])
            for word, (first, last) in zip(read, at, strict=True)
            if word in self.words.category_of
        ]

    def _singulars(self, text: str) -> tuple[list[str], list[str]]:
        sentences = re.split(r"(?<=[.!?])\s+", text)
        tokens = [token for sentence in sentences for token in self._tokenizer.tokenize(sentence)]
        return tokens, [self._singular.get(token, token) for token in tokens]

    def _join(self, forms: Sequence[str]) -> tuple[list[str], list[tuple[int, int]]]:
        """Join pairs that are one word; return the words, and the first and last token of each."""
        words, at, skip = [], [], False
        for i, (form, following) in enumerate(pairwise([*forms, ""])):
            if skip:
                skip = False
                continue
            pair = self.words.pairs.get(f"{form} {following}")
            skip = pair is not None
            words.append(pair or form)
            at.append((i, i + skip))
        return words, at


def _lemmas(text: str) -> tuple[list[str], list[str]]:
    tokens = nltk.word_tokenize(text)
    lemmatize = WordNetLemmatizer().lemmatize
    kind = {"J": "a", "V": "v", "N": "n", "R": "r"}
    return tokens, [lemmatize(token, pos=kind.get(tag[0], "n")) for token, tag in nltk.pos_tag(tokens)]


def _places(text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of the tokens; one that the tokenizer has rewritten (a quotation mark) has a width of 0."""
    places, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        places.append((end, end) if start < 0 else (start, end := start + len(token)))
    return places
