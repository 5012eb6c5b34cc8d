"""Turns an object's name into a question that is nothing but that question."""

import unicodedata
from collections.abc import Collection

from eah_vllm_server.verify.options import OBJECT

LONGEST_NAME = 60
MOST_WORDS = 6
UNQUOTED_WORDS = 3
"""A longer name stands in quotation marks, so that it does not read as a part of the question."""
KEPT_MARKS = frozenset("-'\u2019")


def question_about(name: str, template: str, special: Collection[str] = ()) -> str | None:
    """Return the question about an object, or None where nothing of its name can be asked.

    The name comes from an answer of the model or from a client. Only letters, digits, hyphens and apostrophes of it get
    into the question: without other marks it holds no special token, ends no sentence and begins no turn.

    Args:
        name: the object's name.
        template: a text that holds `{object}` once.
        special: special tokens of the model, as texts.
    """
    words = spoken(name, special)
    if not words:
        return None
    named = " ".join(words)
    return template.replace(OBJECT, f'"{named}"' if len(words) > UNQUOTED_WORDS else named)


def spoken(name: str, special: Collection[str] = ()) -> list[str]:
    """Return the words of a name that go into a question."""
    for token in special:
        name = name.replace(token, " ")
    cleaned = "".join(letter if _is_spoken(letter) else " " for letter in unicodedata.normalize("NFC", name))
    words: list[str] = []
    for word in cleaned.split()[:MOST_WORDS]:
        if any(token in word for token in special) or not any(letter.isalnum() for letter in word):
            continue
        if len(" ".join([*words, word])) > LONGEST_NAME:
            break
        words.append(word)
    return words


def _is_spoken(letter: str) -> bool:
    return letter in KEPT_MARKS or unicodedata.category(letter)[0] in "LMN"
