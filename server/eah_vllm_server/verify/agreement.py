"""Makes a verb agree with a subject that has lost some of its items: "a dog and a cat are" becomes "a dog is"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eah_vllm_server.verify.grammar import Noun, Nouns, Predicate
from eah_vllm_server.verify.inflection import singular
from eah_vllm_server.verify.lexicon import (
    BASE_VERBS,
    GROUPS,
    OF_SEVERAL,
    PLURAL_STARTS,
    SINGULAR_STARTS,
    SINGULAR_VERBS,
    third_person,
)
from eah_vllm_server.verify.tokens import Token

TO_SINGULAR = {"are": "is", "were": "was", "have": "has", "do": "does"}
TO_PLURAL = {"is": "are", "was": "were", "has": "have", "does": "do", "'s": " are"}
_BASE_OF = {third_person(verb): verb for verb in BASE_VERBS}


def is_plural(nouns: Nouns) -> bool:
    """Say whether a verb after the list stands in the plural."""
    joined = any(token.lower in ("and", "&") for link in nouns.links for token in link)
    return (len(nouns.items) > 1 and joined) or _plural_noun(nouns.items[-1])


def _plural_noun(noun: Noun) -> bool:
    first, last = noun.words[0].lower, noun.words[-1].lower.split()[-1]
    if any(token.lower in GROUPS for token in noun.words):
        many = any(token.lower in ("couple", "lot", "number", "variety") for token in noun.words)
        return many or first not in SINGULAR_STARTS
    if first in SINGULAR_STARTS:
        return len(noun.words) > 2 and noun.words[1].lower in ("few", "dozen")
    if first in PLURAL_STARTS:
        return True
    return singular(last) != last or last in ("people", "sheep", "they", "scissors", "pants", "jeans", "clothes")


def agree(predicates: Sequence[Predicate], before: Nouns | None, after: Nouns) -> list[Predicate]:
    """Return predicates in the number of what is left of their subject.

    Args:
        predicates: the predicates of one subject.
        before: the subject as it was; None to look at what is left alone.
        after: what is left of it.
    """
    plural = is_plural(after)
    if before is not None and is_plural(before) == plural and not _first_differs(before, after):
        return list(predicates)
    if len(after.items) > 1 and plural:
        first = _plural_noun(after.items[0])
        if not first:
            return list(predicates)  # "there is a dog and a cat" and "there are a dog and a cat" are both said
    return [_in_number(predicate, plural) for predicate in predicates]


def introduce(before: Nouns, after: Nouns) -> Nouns:
    """Return a list whose first item may follow "there is": "the sofa" that comes first now becomes "a sofa"."""
    first = after.items[0]
    if first.words[0] is before.items[0].words[0] or first.words[0].lower != "the" or len(first.words) < 2:
        return after
    the, noun = first.words[0], first.words[1].lower
    word = "an" if noun[0] in "aeiou" else "a"
    words = first.words[1:] if _plural_noun(first) else [replace(the, text=word), *first.words[1:]]
    return replace(after, items=[replace(first, words=words), *after.items[1:]])


def _first_differs(before: Nouns, after: Nouns) -> bool:
    return _plural_noun(before.items[0]) != _plural_noun(after.items[0])


def _in_number(predicate: Predicate, plural: bool) -> Predicate:
    tokens = [*predicate.aux, *predicate.main]
    finite = next((i for i, token in enumerate(tokens) if token.tag in ("aux", "verb")), None)
    if finite is not None:
        tokens[finite] = _inflected(tokens[finite], plural)
    count = len(predicate.aux)
    aux, main = tokens[:count], tokens[count:]
    if not plural:
        aux = [token for token in aux if token.lower not in OF_SEVERAL]
    return replace(predicate, aux=aux, main=main)


def _inflected(token: Token, plural: bool) -> Token:
    word = token.lower
    if token.tag == "aux":
        return replace(token, text=(TO_PLURAL if plural else TO_SINGULAR).get(word, token.text))
    if plural and word in SINGULAR_VERBS:
        return replace(token, text=_BASE_OF[word])
    if not plural and word in BASE_VERBS:
        return replace(token, text=third_person(word))
    return token
