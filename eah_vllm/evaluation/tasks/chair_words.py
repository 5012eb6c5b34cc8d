"""CHAIR's words: which words of a caption name which COCO category, as the chair.py that the field uses finds them.

The list of words is not ours and no copy of it is shipped: it is read from lmms-eval if installed, or from a file.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import nltk
from nltk.stem import WordNetLemmatizer
from nltk.tokenize import NLTKWordTokenizer

from eah_vllm.evaluation.task import TaskError
from eah_vllm.evaluation.tasks.plurals import plurals

INSTALL = (
    "CHAIR needs the field's list of words: `pip install --no-deps lmms-eval` (only one file of it is read), or "
    "--words FILE with data/synonyms.txt of github.com/LisaAnne/Hallucination"
)
NLTK_DATA = "python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng wordnet"
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
"""After "baby" or "adult" these are animals, and no person is meant."""
READ_AS = {"passenger jet": "jet", "passenger train": "train", "toilet seat": "toilet", "bow tie": "tie"}
NO_OBJECT = ("home plate", "train track")
"""Pairs of words that name no object, although one of the words alone would."""


@dataclass(frozen=True)
class Words:
    """A list of words that name categories.

    Attributes:
        category_of: category by a word, or by two words with a space between them.
        pairs: pairs of words that are read as one word, and that word.
        source: where the list comes from; it is kept with the run.
    """

    category_of: Mapping[str, str]
    pairs: Mapping[str, str]
    source: str


@dataclass(frozen=True)
class Mention:
    """A category that a caption names, and the place `[start, end)` of its words."""

    category: str
    start: int
    end: int


def load_words(path: Path | None = None) -> Words:
    """Read the list of words of the installed lmms-eval, or a file: its `coco_cap_chair/utils.py` or a `synonyms.txt`.

    A `synonyms.txt` has one category a line: its name and its other words, with ", " between them.

    Raises:
        TaskError: there is no list, or it cannot be read.
    """
    source = str(path and path.name)
    if path is None:
        package = importlib.util.find_spec("lmms_eval")
        if package is None or package.origin is None:
            raise TaskError(INSTALL)
        path = Path(package.origin).parent / "tasks/coco_cap_chair/utils.py"
        source = f"lmms-eval {version('lmms-eval')}"
    try:
        text = path.read_text(encoding="utf-8")
        category_of, pairs = _read_python(text) if path.suffix == ".py" else _read_text(text)
    except (OSError, UnicodeDecodeError, SyntaxError, KeyError, ValueError) as error:
        raise TaskError(f"{path}: not a list of words ({error}). {INSTALL}") from None
    return Words(category_of, pairs, source)


def _read_python(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read two constants of lmms-eval's module without running it, as it imports half of lmms-eval's dependencies."""
    wanted = ("INVERSE_SYNONYM_DICT", "DOUBLE_WORD_DICT")
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted
    }
    return found[wanted[0]], found[wanted[1]]


def _read_text(text: str) -> tuple[dict[str, str], dict[str, str]]:
    rows = [line.strip().split(", ") for line in text.splitlines() if line.strip()]
    if not rows or max(map(len, rows)) < 2:
        raise ValueError("no line of the form `category, word, word`")
    category_of = {word: row[0] for row in rows for word in row}
    pairs = {word: word for word in (*map(str.strip, category_of), *NO_OBJECT) if word.count(" ") == 1}
    pairs |= {f"{age} {animal}": animal for age in ("baby", "adult") for animal in ANIMALS}
    return category_of, pairs | READ_AS


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
