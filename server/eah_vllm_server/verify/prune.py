"""Takes denied objects out of a sentence's shape, with what cannot stand without them.

What is left is said by the sentence already: a modifier, an item of a list, a predicate or a clause goes whole, and in
"there is a dog on a sofa" the sofa takes the dog's place. Where a confirmed object would be lost, a strict pruner
raises `Mixed`; one that is not strict loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from eah_vllm_server.verify.agreement import agree, introduce, is_plural
from eah_vllm_server.verify.grammar import (
    Clause,
    Modifier,
    Noun,
    Nouns,
    Predicate,
    denied,
    deny,
    deny_pronouns,
    kept,
    tokens_of,
)
from eah_vllm_server.verify.lexicon import BE, GROUPS, NEEDS_NOTHING, PLACES, SHOWING, STAND_INS, VERBS
from eah_vllm_server.verify.tokens import Token


class Mixed(Exception):
    """A part names confirmed objects and denied ones, and cannot be split."""


class Pruner:
    """Prunes sentences.

    Args:
        strict: whether to raise `Mixed` where a confirmed object would be lost.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict

    def sentence(self, clauses: Sequence[Clause]) -> list[Clause]:
        """Return the clauses that are left; the first one has nothing before it."""
        left: list[Clause] = []
        gone = False
        for clause in clauses:
            if gone:
                clause = deny_pronouns(clause)
            pruned = self._clause(clause)
            if gone and pruned is not None and not pruned.predicates:
                self._lose(pruned)  # "..., possibly curious" said something of what is gone
                pruned = None
            gone = pruned is None
            if pruned is not None:
                left.append(pruned if left else replace(pruned, link=[]))
        return left

    def _lose(self, *lost: Noun | Nouns | Modifier | Predicate | Clause | None) -> None:
        if self._strict and any(map(kept, lost)):
            raise Mixed

    # --- clauses

    def _clause(self, clause: Clause) -> Clause | None:
        if not denied(clause):
            return clause
        leads = [left for lead in clause.leads for left in self._lead(lead)]
        if clause.subject is None:
            return self._inverted(replace(clause, leads=leads), clause)
        if not clause.predicates:  # "A dog on a sofa."
            subject, _ = self._nouns(clause.subject, shows=True)
            return self._whole(clause, None if subject is None else replace(clause, leads=leads, subject=subject))
        subject, _ = self._nouns(clause.subject, shows=False)
        if subject is None:
            self._lose(clause)
            return None
        if is_plural(clause.subject) and not is_plural(subject):
            clause = deny(clause, _each_other(clause))
        shows = _shows(clause)
        there = [token.lower for token in tokens_of(clause.subject)] == ["there"]
        predicates = [self._predicate(predicate, shows, there) for predicate in clause.predicates]
        left = _join_predicates(clause.predicates, predicates)
        if not left:
            self._lose(clause)
            return None
        if subject is not clause.subject and not there:
            left = agree(left, clause.subject, subject)
        return replace(clause, leads=leads, subject=subject, predicates=left)

    def _whole(self, before: Clause, after: Clause | None) -> Clause | None:
        if after is None:
            self._lose(before)
        return after

    def _lead(self, lead: Modifier) -> list[Modifier]:
        left = self._modifier(lead, shows=False)
        return left if len(left) == 1 and (left[0].nouns is not None or left[0] is lead or left[0].clause) else []

    def _inverted(self, clause: Clause, before: Clause) -> Clause | None:
        """Prune "on the left is a dog"; without the place nothing is left to say where."""
        predicate = clause.predicates[0]
        nouns, _ = self._nouns(predicate.nouns, shows=True) if predicate.nouns else (None, [])
        if nouns is None or len(clause.leads) < len(before.leads):
            self._lose(before)
            return None
        left = replace(predicate, nouns=nouns)
        if predicate.nouns is not nouns and predicate.nouns is not None:
            left = agree([left], predicate.nouns, nouns)[0]
        return replace(clause, predicates=[left])

    def _predicate(self, predicate: Predicate, shows: bool, there: bool) -> Predicate | None:
        if not denied(predicate):
            return predicate
        nouns = None
        if predicate.nouns is not None:
            nouns, _ = self._nouns(predicate.nouns, shows=shows)
            if nouns is None:
                self._lose(predicate)
                return None
        modifiers = [left for modifier in predicate.modifiers for left in self._modifier(modifier, shows=False)]
        leans = predicate.nouns is None and bool(predicate.modifiers) and _needs_more(predicate)
        if leans and not _completes(modifiers, predicate.modifiers):
            self._lose(predicate)
            return None
        pruned = replace(predicate, nouns=nouns, modifiers=modifiers)
        if there and predicate.nouns is not None and nouns is not None:
            introduced = introduce(predicate.nouns, nouns)
            pruned = agree([replace(pruned, nouns=introduced)], predicate.nouns, introduced)[0]
        return pruned

    # --- noun phrases

    def _nouns(self, nouns: Nouns, shows: bool) -> tuple[Nouns | None, list[Modifier]]:
        """Return what is left of a list, and what a single item left behind that may be said of something else."""
        if not denied(nouns):
            return nouns, []
        items: list[Noun] = []
        links: list[list[Token]] = []
        loose: list[Modifier] = []
        gone = False
        for link, item in zip(nouns.links, nouns.items, strict=True):
            if gone and all(token.lower in STAND_INS for token in item.words) and not kept(item):
                continue
            last = item is nouns.items[-1]
            places = all(_place(modifier) for modifier in item.modifiers if kept(modifier))
            shared = last and bool(items) and places and not any(map(_place, items[-1].modifiers))
            left, behind = self._noun(item, shows=shows and not shared, alone=len(nouns.items) == 1 or shared)
            gone = not left or left[0].words[0] is not item.words[0]
            if shared and behind:  # "two dogs and a cat on the couch"
                items[-1] = replace(items[-1], modifiers=[*items[-1].modifiers, *behind])
            else:
                loose += behind
            items += left
            links += [link, *[[]] * (len(left) - 1)][: len(left)]
        if not items:
            return None, loose
        if len(items) < len(nouns.items) or links[0] is not nouns.links[0]:
            links = _relink(links, nouns.links, long=bool(items[0].modifiers))
            if len(items) == 1:
                items = [_agree_relative(items[0])]
        return Nouns(items, links), []

    def _noun(self, noun: Noun, shows: bool, alone: bool) -> tuple[list[Noun], list[Modifier]]:
        if not denied(noun):
            return [noun], []
        scene = shows and not any(token.tag == "noun" for token in noun.words)
        if not any(token.denied for token in noun.words):
            modifiers: list[Modifier] = []
            for modifier in noun.modifiers:
                left = self._modifier(modifier, shows=scene)
                if not left and self._is_of(modifier) and not any(token.tag == "noun" for token in noun.words):
                    return self._without_head(noun, shows, alone)
                if not left and modifier.kind == ":":
                    return self._without_head(noun, shows, alone)
                modifiers += left
            return [replace(noun, modifiers=modifiers)], []
        return self._without_head(noun, shows, alone)

    def _is_of(self, modifier: Modifier) -> bool:
        return modifier.kind == "prep" and modifier.word == "of"

    def _without_head(self, noun: Noun, shows: bool, alone: bool) -> tuple[list[Noun], list[Modifier]]:
        if any(token.kept for token in noun.words):
            self._lose(noun)
            return [], []
        holding = [modifier for modifier in noun.modifiers if kept(modifier)]
        if not holding:
            return [], []
        if shows and (held := self._held(holding[0])) is not None:
            others = [left for modifier in holding[1:] for left in self._modifier(modifier, shows=False)]
            if all(other.word == "with" and other.link for other in others):
                held[-1] = replace(held[-1], modifiers=[*held[-1].modifiers, *others])
                return held, []
        loose = [left for modifier in holding for left in self._modifier(modifier, shows=False)]
        if alone and all(map(_place, loose)):
            return [], loose
        self._lose(noun)
        return [], []

    def _held(self, modifier: Modifier) -> list[Noun] | None:
        """Return the noun phrases that a modifier brings in, if nothing else in it is confirmed."""
        within: Modifier | Predicate = modifier
        if modifier.clause is not None:
            if modifier.clause.subject is not None or len(modifier.clause.predicates) != 1:
                return None
            within = modifier.clause.predicates[0]
        if within.nouns is not None and kept(within.nouns) and not any(map(kept, within.modifiers)):
            if not any(token.kept for item in within.nouns.items for token in item.words):
                holding = [m for item in within.nouns.items for m in item.modifiers if kept(m)]
                return self._held(holding[0]) if len(holding) == 1 else None
            nouns, _ = self._nouns(within.nouns, shows=True)
            return None if nouns is None else _spread(nouns)
        holding = [inner for inner in within.modifiers if kept(inner)]
        if len(holding) == 1 and not (within.nouns is not None and kept(within.nouns)):
            return self._held(holding[0])
        return None

    # --- modifiers

    def _modifier(self, modifier: Modifier, shows: bool) -> list[Modifier]:
        """Return the modifier, what is left of it, what takes its place, or nothing."""
        if not denied(modifier):
            return [modifier]
        if modifier.clause is not None:
            return self._relative(modifier)
        if modifier.kind == "(":
            self._lose(modifier)
            return []
        nouns = None
        if modifier.nouns is not None:
            holds = modifier.kind == "prep" and modifier.word in ("with", "including", "featuring")
            nouns, loose = self._nouns(modifier.nouns, shows=shows and holds)
            if nouns is None:
                instead = [_linked(loose[0], modifier), *loose[1:]] if loose else []
                self._lose(*[] if loose else [modifier.nouns], *modifier.modifiers)
                return instead
            if modifier.word == "between" and len(nouns.items) == 1 and not is_plural(nouns):
                self._lose(modifier)
                return []
            if modifier.kind == ":" and nouns is not modifier.nouns:
                self._lose(modifier)
                return []
        modifiers = [left for inner in modifier.modifiers for left in self._modifier(inner, shows=False)]
        if (
            modifier.nouns is None
            and not _stands_alone(modifier.words)
            and not _completes(modifiers, modifier.modifiers)
        ):
            self._lose(*modifiers)
            return []
        return [replace(modifier, nouns=nouns, modifiers=modifiers)]

    def _relative(self, modifier: Modifier) -> list[Modifier]:
        assert modifier.clause is not None
        if modifier.clause.subject is not None or not modifier.clause.predicates:
            clause = self._clause(modifier.clause)
            return [replace(modifier, clause=clause)] if clause is not None else []
        predicates = [self._predicate(predicate, shows=False, there=False) for predicate in modifier.clause.predicates]
        left = _join_predicates(modifier.clause.predicates, predicates)
        if not left:
            self._lose(modifier)
            return []
        return [replace(modifier, clause=replace(modifier.clause, predicates=left))]


def _each_other(clause: Clause) -> list[int]:
    tokens = list(tokens_of(clause))
    pairs = (("each", "other"), ("one", "another"))
    return [b.start for a, b in pairwise(tokens) if (a.lower, b.lower) in pairs]


def _completes(left: Sequence[Modifier], before: Sequence[Modifier]) -> bool:
    """Say whether what is left still stands in the place of what a verb needed."""
    same = bool(left) and [t.lower for t in left[0].words] == [t.lower for t in before[0].words]
    return same or bool(left and _place(left[0]))


def _linked(modifier: Modifier, instead_of: Modifier) -> Modifier:
    return replace(modifier, link=instead_of.link, close=instead_of.close)


def _place(modifier: Modifier) -> bool:
    return modifier.kind == "prep" and modifier.nouns is not None and modifier.word in PLACES


def _shows(clause: Clause) -> bool:
    """Say whether a clause says no more of its objects than that they are there."""
    names = any(token.tag == "noun" for token in tokens_of(clause.subject))
    if names or len(clause.predicates) != 1:
        return False
    predicate = clause.predicates[0]
    verbs = {token.lower for token in (*predicate.aux, *predicate.main) if token.tag != "adv"}
    there = [token.lower for token in tokens_of(clause.subject)] == ["there"]
    return there or bool(verbs & SHOWING)


def _needs_more(predicate: Predicate) -> bool:
    """Say whether a verb cannot stand without what follows it: "is on the sofa", "looks at the dog"."""
    last = [token for token in (*predicate.aux, *predicate.main) if token.tag != "adv"][-1]
    if last.tag == "aux":
        return last.lower in BE or last.lower in VERBS
    if last.tag == "word":
        return last.lower in GROUPS
    return not _stands_alone([last])


def _stands_alone(words: Sequence[Token]) -> bool:
    return words[-1].tag == "adv" or bool(_stems(words[-1].lower) & NEEDS_NOTHING)


def _stems(word: str) -> set[str]:
    stems = {word}
    for ending in ("s", "es", "ed", "d", "ing"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            stems |= {stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem, stem.removesuffix("y") + "ie"}
    return stems


def _spread(nouns: Nouns) -> list[Noun]:
    """Return the items of a list; the words that join them are joined anew by the list that takes them in."""
    return [
        replace(item, words=[*link, *item.words]) if i else item
        for i, (link, item) in enumerate(zip(nouns.links, nouns.items, strict=True))
    ]


def _relink(links: list[list[Token]], before: Sequence[list[Token]], long: bool) -> list[list[Token]]:
    """Join the items that are left: the first has nothing before it, the last one has the "and" of the last."""
    left = [[], *links[1:]]
    if len(left) > 1 and left[-1] and not any(token.tag == "and" for token in left[-1]):
        joint = [token for token in before[-1] if token.tag == "and"]
        comma = [token for token in before[-1] if token.tag == ","] if len(left) > 2 or long else []
        left[-1] = [*comma, *joint] or left[-1]
    elif len(left) == 2 and len(before) > 2 and not long:
        left[-1] = [token for token in left[-1] if token.tag != ","] or left[-1]
    return left


def _agree_relative(item: Noun) -> Noun:
    modifiers = [
        replace(m, clause=replace(m.clause, predicates=agree(m.clause.predicates, None, Nouns([item], [[]]))))
        if m.clause is not None and m.clause.subject is None
        else m
        for m in item.modifiers
    ]
    return replace(item, modifiers=modifiers)


def _join_predicates(before: Sequence[Predicate], after: Sequence[Predicate | None]) -> list[Predicate]:
    """Join the predicates that are left; the first one takes over the auxiliary verb of one that is gone."""
    left: list[Predicate] = []
    aux: list[Token] = []
    for old, new in zip(before, after, strict=True):
        aux = old.aux if any(token.tag == "aux" for token in old.aux) else aux
        if new is None:
            continue
        if not left:
            missing = new.main and new.main[0].tag in ("ing", "part") and not any(t.tag == "aux" for t in new.aux)
            borrowed = [token for token in aux if token.tag == "aux"] if missing and new is not after[0] else []
            new = replace(new, link=[], aux=[*borrowed, *new.aux]) if new is not after[0] else new
        left.append(new)
    return left
