"""The extractor `words`: finds the names of a list of objects, with their synonyms and plurals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.tasks.word_list import load_words
from eah_vllm_server.verify.folding import Folded, fold
from eah_vllm_server.verify.inflection import forms
from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.negation import negated_parts

MOST_NAMES = 2_000
LONGEST_NAME = 80
ALLOWED = (
    "a list of names, or an object with the names as keys and lists of synonyms as values, "
    f"at most {MOST_NAMES} names and synonyms of 1 to {LONGEST_NAME} characters"
)

Objects = Mapping[str, Sequence[str]]
"""Synonyms by the name that the question asks about."""

_SPACELESS = "".join(
    f"{chr(first)}-{chr(last)}"
    for first, last in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF))
) + ("\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af")
_LETTER = rf"[^\W{_SPACELESS}]"
_STARTS_WORD = rf"(?<!{_LETTER})"
_ENDS_WORD = rf"(?!{_LETTER})(?!-{_LETTER})(?!'(?!s(?!\w)){_LETTER})"
# They stand once around all names: compiled anew for each of 2,000 names they would take seconds.
_STARTS = rf"(?:(?=[{_SPACELESS}])|{_STARTS_WORD})"
_ENDS = rf"(?:(?<=[{_SPACELESS}])|{_ENDS_WORD})"
_ELIDED = re.compile(r"(?<!\w)(?:[cdjlmnst]|qu|un|all|dell|dall|nell|sull|quell|bell)'$")


def read_objects(value: object, field: str = "objects") -> dict[str, tuple[str, ...]]:
    """Check a list of objects in the form of a request or of the server's configuration.

    Args:
        value: a list of names, or names with lists of their synonyms.
        field: the field's name, for the message.

    Raises:
        ValueError: the value is of another form, too long, or gives one word to two objects.
    """
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        pairs = [(name, ()) for name in value]
    else:
        raise ValueError(f"{field} must be {ALLOWED}, got {value!r:.200}")
    if not pairs:
        raise ValueError(f"{field} must be {ALLOWED}, got an empty one")
    objects: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for name, synonyms in pairs:
        if not isinstance(synonyms, Sequence) or isinstance(synonyms, str | bytes):
            raise ValueError(f"{field}: synonyms of {name!r:.100} must be a list, got {synonyms!r:.100}")
        words = [_name(word, field) for word in (name, *synonyms)]
        for word in words:
            if owner.setdefault(fold(word), words[0]) != words[0]:
                raise ValueError(f"{field}: {word!r} stands for {owner[fold(word)]!r} and for {words[0]!r}")
        if len(owner) > MOST_NAMES:
            raise ValueError(f"{field} must be {ALLOWED}, got more than {MOST_NAMES} names and synonyms")
        objects[words[0]] = (*objects.get(words[0], ()), *words[1:])
    return objects


def _name(value: Any, field: str) -> str:
    name = " ".join(value.split()) if isinstance(value, str) else ""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or not re.search(r"\w", name):
        raise ValueError(f"{field}: a name must be a text of 1 to {LONGEST_NAME} characters, got {value!r:.200}")
    return name


@dataclass(frozen=True)
class WordFile:
    """What a file of words says.

    Attributes:
        objects: synonyms by object.
        no_object: words that name no object, although a part of them alone would ("train track").
    """

    objects: dict[str, tuple[str, ...]]
    no_object: tuple[str, ...]


def read_word_file(path: Path) -> WordFile:
    """Read the words of a file in one of the forms that `eah-vllm eval chair --words` takes, such as COCO's list.

    Raises:
        TaskError: the file is not of such a form; it is a ValueError that names the file.
    """
    words = load_words(path)
    objects: dict[str, list[str]] = {name: [] for name in words.category_of.values()}
    phrases = {phrase: words.category_of.get(word) for phrase, word in words.pairs.items()}
    for word, name in {**words.category_of, **phrases}.items():
        if name is not None and word != name:
            objects[name].append(word)
    no_object = tuple(phrase for phrase, name in phrases.items() if name is None)
    return WordFile({name: tuple(found) for name, found in objects.items()}, no_object)


class WordExtractor:
    """Finds the names of objects in a text, the longest one that starts at a place.

    Upper and lower case are equal. A name is a whole word: "cat" stands neither in "category" nor in "cat-like", but in
    "cat's" and "tabby-cat". In Chinese, Japanese, Thai and other scripts without spaces a name may stand anywhere.
    What the text says is not there ("no dog") is left out.

    Args:
        objects: synonyms by object.
        no_object: words that name nothing.
    """

    name = "words"

    def __init__(self, objects: Objects, no_object: Iterable[str] = ()) -> None:
        given: list[tuple[str, str | None]] = [
            (fold(word), name) for name, synonyms in objects.items() for word in (name, *synonyms)
        ]
        given += [(fold(word), None) for word in no_object]
        self._object = {_key(word): name for word, name in given}
        for word, name in given:  # a plural by rule never takes the place of a word that the list has
            for form in forms(word):
                self._object.setdefault(_key(form), name)
        longest_first = sorted(self._object, key=len, reverse=True)
        self._pattern = re.compile(_STARTS + f"(?:{'|'.join(map(_pattern, longest_first)) or '(?!)'})" + _ENDS)

    async def find(self, answer: str) -> list[Mention]:
        """Return the mentions in order of their start; they never overlap."""
        return self.find_now(answer)

    def find_now(self, answer: str) -> list[Mention]:
        """Return what `find` returns, which needs no model and so no waiting."""
        folded = Folded(answer)
        negated = negated_parts(folded.text)
        mentions, at = [], 0
        while match := self._pattern.search(folded.text, at):
            place = None if _after_apostrophe(folded.text, match.start()) else folded.place(*match.span())
            if place is None:
                at = match.start() + 1
                continue
            at = match.end()
            name = self._object[_key(match[0])]
            if name is not None and not any(start <= match.start() < end for start, end in negated):
                mentions.append(Mention(answer[place[0] : place[1]], *place, name))
        return mentions


def _key(word: str) -> str:
    """Return a folded word in one spelling: "traffic-light" and "traffic light" are one name."""
    return " ".join(filter(None, re.split(r"[\s-]+", word)))


def _pattern(word: str) -> str:
    return r"(?:\s+|-)".join(map(re.escape, word.split()))


def _after_apostrophe(text: str, start: int) -> bool:
    """Say whether a letter and an apostrophe stand before a word, as in "o'clock" and unlike in "l'arbre"."""
    before = text[max(0, start - 8) : start]
    return bool(re.search(r"\w'$", before)) and not _ELIDED.search(before)
