"""Takes denied objects out of noun phrases and modifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from eah_vllm_server.verify.agreement import is_plural
from eah_vllm_server.verify.dependence import completes, is_place, stands_alone
from eah_vllm_server.verify.grammar import (
    Clause,
    Modifier,
    Noun,
    Nouns,
    Predicate,
    denied,
    kept,
)
from eah_vllm_server.verify.joining import agree_relative, linked, relink, spread
from eah_vllm_server.verify.lexicon import GUESSING, STAND_INS
from eah_vllm_server.verify.tokens import Token


class Mixed(Exception):
    """A part names confirmed objects and denied ones, and cannot be split."""


class PhrasePruner(ABC):
    """Prunes noun phrases and modifiers.

    Args:
        strict: whether to raise `Mixed` where a confirmed object would be lost.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict

    def _lose(self, *lost: Noun | Nouns | Modifier | Predicate | Clause | None) -> None:
        if self._strict and any(map(kept, lost)):
            raise Mixed

    @abstractmethod
    def _relative(self, modifier: Modifier) -> list[Modifier]:
        """Return what is left of a relative clause."""

    def _nouns(self, nouns: Nouns, shows: bool) -> tuple[Nouns | None, list[Modifier]]:
        """Return what is left of a list, and what a single item left behind that may be said of something else."""
        if not denied(nouns):
            return nouns, []
        items: list[Noun] = []
        links: list[list[Token]] = []
        loose: list[Modifier] = []
        gone = False
        for link, item in zip(nouns.links, nouns.items, strict=True):
            other_name = any(token.lower in GUESSING for token in link)
            if gone and other_name:
                item = replace(item, words=[replace(token, denied=not token.kept) for token in item.words])
            elif gone and stands_in(item) and not kept(item):
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


def stands_in(item: Noun) -> bool:
    """Say whether an item stands for a part of what another names: "some closer to the water"."""
    leading = [token.lower for token in item.words if token.lower != "the"]
    return bool(leading) and leading[0] in STAND_INS and not any(token.tag == "noun" for token in item.words)
