"""Joins what is left of lists and of predicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eah_vllm_server.verify.agreement import agree
from eah_vllm_server.verify.grammar import Modifier, Noun, Nouns, Predicate
from eah_vllm_server.verify.tokens import Token


def linked(modifier: Modifier, instead_of: Modifier) -> Modifier:
    """Return a modifier joined to what stands before it as another one was."""
    return replace(modifier, link=instead_of.link, close=instead_of.close)


def spread(nouns: Nouns) -> list[Noun]:
    """Return the items of a list; the words that join them are joined anew by the list that takes them in."""
    return [
        replace(item, words=[*link, *item.words]) if i else item
        for i, (link, item) in enumerate(zip(nouns.links, nouns.items, strict=True))
    ]


def relink(links: list[list[Token]], before: Sequence[list[Token]], long: bool) -> list[list[Token]]:
    """Join the items that are left: the first has nothing before it, the last one has the "and" of the last."""
    left = [[], *links[1:]]
    if len(left) > 1 and left[-1] and not any(token.tag == "and" for token in left[-1]):
        joint = [token for token in before[-1] if token.tag == "and"]
        comma = [token for token in before[-1] if token.tag == ","] if len(left) > 2 or long else []
        left[-1] = [*comma, *joint] or left[-1]
    elif len(left) == 2 and len(before) > 2 and not long:
        left[-1] = [token for token in left[-1] if token.tag != ","] or left[-1]
    return left


def agree_relative(item: Noun) -> Noun:
    """Return the one item that is left of a list, with the verbs of its relative clauses in its number."""
    modifiers = [
        replace(m, clause=replace(m.clause, predicates=agree(m.clause.predicates, None, Nouns([item], [[]]))))
        if m.clause is not None and m.clause.subject is None
        else m
        for m in item.modifiers
    ]
    return replace(item, modifiers=modifiers)


def join_predicates(before: Sequence[Predicate], after: Sequence[Predicate | None]) -> list[Predicate]:
    """Join the predicates that are left; the first one takes over the auxiliary verb of one that is gone."""
    left: list[Predicate] = []
    aux: list[Token] = []
    for old, new in zip(before, after, strict=True):
        aux = old.aux if any(token.tag == "aux" for token in old.aux) else aux
        if new is None:
            continue
        if not left:
            missing = (
                new.main
                and new.main[0].tag in ("ing", "part")
                and not any(t.tag in ("aux", "verb", "to") for t in new.aux)
            )
            borrowed = [token for token in aux if token.tag == "aux"] if missing and new is not after[0] else []
            new = replace(new, link=[], aux=[*borrowed, *new.aux]) if new is not after[0] else new
        left.append(new)
    return left


def without_not_only(predicate: Predicate) -> Predicate:
    """Return a predicate without "not only", whose "but also" is gone."""
    tokens = [*predicate.aux, *predicate.main]
    if [token.lower for token in tokens[-2:]] != ["not", "only"]:
        return predicate
    return replace(predicate, aux=predicate.aux[: len(tokens) - 2], main=predicate.main[: len(predicate.main) - 2])
