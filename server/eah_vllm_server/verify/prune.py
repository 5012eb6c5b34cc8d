"""Takes denied objects out of a sentence's shape, with what cannot stand without them.

What is left is said by the sentence already: a modifier, an item of a list, a predicate or a clause goes whole, and in
"there is a dog on a sofa" the sofa takes the dog's place. Where a confirmed object would be lost, a strict pruner
raises `Mixed`; one that is not strict loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eah_vllm_server.verify.agreement import agree, introduce, is_plural
from eah_vllm_server.verify.dependence import completes, each_other, is_place, needs_more, only_shows, stands_alone
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
from eah_vllm_server.verify.joining import agree_relative, join_predicates, linked, relink, spread
from eah_vllm_server.verify.lexicon import STAND_INS
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
            clause = deny(clause, each_other(clause))
        shows = only_shows(clause)
        there = [token.lower for token in tokens_of(clause.subject)] == ["there"]
        predicates = [self._predicate(predicate, shows, there) for predicate in clause.predicates]
        left = join_predicates(clause.predicates, predicates)
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
        leans = predicate.nouns is None and bool(predicate.modifiers) and needs_more(predicate)
        if leans and not completes(modifiers, predicate.modifiers):
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
            places = all(is_place(modifier) for modifier in item.modifiers if kept(modifier))
            shared = last and bool(items) and places and not any(map(is_place, items[-1].modifiers))
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
            links = relink(links, nouns.links, long=bool(items[0].modifiers))
            if len(items) == 1:
                items = [agree_relative(items[0])]
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
        if alone and all(map(is_place, loose)):
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
            return None if nouns is None else spread(nouns)
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
                instead = [linked(loose[0], modifier), *loose[1:]] if loose else []
                self._lose(*[] if loose else [modifier.nouns], *modifier.modifiers)
                return instead
            if modifier.word == "between" and len(nouns.items) == 1 and not is_plural(nouns):
                self._lose(modifier)
                return []
            if modifier.kind == ":" and nouns is not modifier.nouns:
                self._lose(modifier)
                return []
        modifiers = [left for inner in modifier.modifiers for left in self._modifier(inner, shows=False)]
        if modifier.nouns is None and not stands_alone(modifier.words) and not completes(modifiers, modifier.modifiers):
            self._lose(*modifiers)
            return []
        return [replace(modifier, nouns=nouns, modifiers=modifiers)]

    def _relative(self, modifier: Modifier) -> list[Modifier]:
        assert modifier.clause is not None
        if modifier.clause.subject is not None or not modifier.clause.predicates:
            clause = self._clause(modifier.clause)
            return [replace(modifier, clause=clause)] if clause is not None else []
        predicates = [self._predicate(predicate, shows=False, there=False) for predicate in modifier.clause.predicates]
        left = join_predicates(modifier.clause.predicates, predicates)
        if not left:
            self._lose(modifier)
            return []
        return [replace(modifier, clause=replace(modifier.clause, predicates=left))]
