"""Takes denied objects out of a sentence's shape, with what cannot stand without them.

What is left is said by the sentence already: a modifier, an item of a list, a predicate or a clause goes whole, and in
"there is a dog on a sofa" the sofa takes the dog's place. Where a confirmed object would be lost, a strict pruner
raises `Mixed`; one that is not strict loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eah_vllm_server.verify.agreement import agree, introduce, is_plural
from eah_vllm_server.verify.dependence import completes, each_other, needs_more, only_shows
from eah_vllm_server.verify.grammar import (
    Clause,
    Modifier,
    Predicate,
    denied,
    deny,
    deny_pronouns,
    tokens_of,
)
from eah_vllm_server.verify.joining import join_predicates, without_not_only
from eah_vllm_server.verify.prune_phrases import Mixed, PhrasePruner, stands_in

__all__ = ["Mixed", "Pruner"]


class Pruner(PhrasePruner):
    """Prunes sentences."""

    def sentence(self, clauses: Sequence[Clause]) -> list[Clause]:
        """Return the clauses that are left; the first one has nothing before it."""
        left: list[Clause] = []
        gone = False
        for clause in clauses:
            if gone:
                clause = deny_pronouns(clause)
            pruned = self._clause(clause)
            if gone and pruned is not None and _leans(pruned):
                self._lose(pruned)
                pruned = None
            gone = pruned is None
            if pruned is not None:
                left.append(pruned if left else replace(pruned, link=[]))
        if len(left) > 1 and all(token.tag == "," for token in left[-1].link):
            left[-1] = replace(left[-1], link=clauses[-1].link)  # the "and" of the last one
        return left

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
        if not any(token.tag == "," for token in tokens_of(subject)):
            left[0] = replace(left[0], link=[])  # the comma that closed what stood between commas
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
        if nouns is not None and nouns is not predicate.nouns and len(nouns.items) == 1:
            pruned = without_not_only(pruned)
        if there and predicate.nouns is not None and nouns is not None:
            introduced = introduce(predicate.nouns, nouns)
            pruned = agree([replace(pruned, nouns=introduced)], predicate.nouns, introduced)[0]
        return pruned

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


def _leans(clause: Clause) -> bool:
    """Say whether a clause says something of the one before: "possibly curious", "the other one has a hat"."""
    return not clause.predicates or (clause.subject is not None and stands_in(clause.subject.items[0]))
