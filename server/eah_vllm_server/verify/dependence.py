"""Says what in a sentence cannot stand without what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from eah_vllm_server.verify.grammar import Clause, Modifier, Predicate, tokens_of
from eah_vllm_server.verify.lexicon import BE, GROUPS, NEEDS_NOTHING, PLACES, SHOWING, VERBS
from eah_vllm_server.verify.tokens import Token


def each_other(clause: Clause) -> list[int]:
    """Return the places of "other" in "each other", which needs more than one."""
    tokens = list(tokens_of(clause))
    pairs = (("each", "other"), ("one", "another"))
    return [b.start for a, b in pairwise(tokens) if (a.lower, b.lower) in pairs]


def completes(left: Sequence[Modifier], before: Sequence[Modifier]) -> bool:
    """Say whether what is left still stands in the place of what a verb needed."""
    same = bool(left) and [t.lower for t in left[0].words] == [t.lower for t in before[0].words]
    return same or bool(left and is_place(left[0]))


def is_place(modifier: Modifier) -> bool:
    """Say whether a modifier says where something is, which may be said of whatever holds the thing."""
    return modifier.kind == "prep" and modifier.nouns is not None and modifier.word in PLACES


def only_shows(clause: Clause) -> bool:
    """Say whether a clause says no more of its objects than that they are there."""
    names = any(token.tag == "noun" for token in tokens_of(clause.subject))
    if names or len(clause.predicates) != 1:
        return False
    predicate = clause.predicates[0]
    verbs = {token.lower for token in (*predicate.aux, *predicate.main) if token.tag != "adv"}
    there = [token.lower for token in tokens_of(clause.subject)] == ["there"]
    return there or bool(verbs & SHOWING)


def needs_more(predicate: Predicate) -> bool:
    """Say whether a verb cannot stand without what follows it: "is on the sofa", "looks at the dog"."""
    verb = [token for token in (*predicate.aux, *predicate.main) if token.tag != "adv"]
    if not verb:
        return False
    last = verb[-1]
    if last.tag == "aux":
        return last.lower in BE or last.lower in VERBS
    if last.tag == "word":
        return last.lower in GROUPS
    return not stands_alone([last])


def stands_alone(words: Sequence[Token]) -> bool:
    """Say whether a verb or participle is whole without an object or a place."""
    return words[-1].tag == "adv" or bool(_stems(words[-1].lower) & NEEDS_NOTHING)


def _stems(word: str) -> set[str]:
    stems = {word}
    for ending in ("s", "es", "ed", "d", "ing"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            stems |= {stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem, stem.removesuffix("y") + "ie"}
    return stems
