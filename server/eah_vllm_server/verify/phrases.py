"""Reads noun phrases and their modifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from eah_vllm_server.verify.cursor import Cursor, NotRead
from eah_vllm_server.verify.grammar import Modifier, Noun, Nouns
from eah_vllm_server.verify.lexicon import ADJECTIVES, ADVERBS, PLACES
from eah_vllm_server.verify.tokens import Token

MOST_NOUNS = 2_000
"""Noun phrases read for one sentence, the same one counted each time; a longer or more tangled sentence is not read."""


class PhraseReader(Cursor, ABC):
    """Reads noun phrases; whoever reads clauses says where one begins."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self._read = 0
        self._lists = 0
        self._short = False

    @abstractmethod
    def _starts_clause(self, ahead: int, joined: bool = False) -> bool:
        """Say whether a noun phrase and its verb follow; after an "and" (`joined`), one without ", and" in it."""

    @abstractmethod
    def _clause_after_lead(self, ahead: int) -> bool:
        """Say whether a preposition after a comma begins a clause of its own."""

    @abstractmethod
    def _relative(self, link: list[Token], count: int = 1) -> Modifier:
        """Read a relative clause, whose pronoun has `count` tokens."""

    def _nouns(self, *, verb_seen: bool, single: bool = False, top: bool = True, within: str = "") -> Nouns:
        """Read a list of noun phrases.

        Args:
            verb_seen: whether "and" with a noun phrase and a verb begins another clause.
            single: whether to read one only, since the others belong to an outer list.
            top: whether modifiers after a comma belong to the last one.
            within: "noun" in a modifier of something named, "place" in a place of a predicate.
        """
        both = self._next() if self._lower() in ("both", "either") and self._tag(1) != "noun" else []
        self._lists += not single
        try:
            nouns = Nouns([self._noun(verb_seen=verb_seen, top=top and not single, within=within)], [both])
            while not single and (count := self._joins_noun(verb_seen)):
                if within == "noun" and not _begin_alike(nouns.items[0], self._tokens[self._at + self._link()]):
                    break
                nouns.links.append(self._next(count))
                nouns.items.append(self._noun(verb_seen=verb_seen, top=top, within=within))
        finally:
            self._lists -= not single
        return nouns

    def _joins_noun(self, verb_seen: bool) -> int:
        """Return how many tokens join another noun phrase of the list, 0 if none follows."""
        count = self._link()
        if count == 2 and self._short:
            return 0
        adverbs = int(count > 0 and self._tag(count) == "adv" and self._tag(count + 1) in ("the", "noun", "word"))
        if not count or self._tag(count + adverbs) not in ("the", "noun", "word"):
            return 0
        joined = self._tag(count - 1) == "and"
        return 0 if verb_seen and self._starts_clause(count, joined) else count + adverbs

    def _noun(self, *, verb_seen: bool, top: bool, within: str) -> Noun:
        self._read += 1
        if self._read > MOST_NOUNS:
            raise NotRead
        words = self._head()
        return Noun(words, self._modifiers(top=top, in_predicate=False, verb_seen=verb_seen, within=within, of=words))

    def _head(self) -> list[Token]:
        if self._tag() == "it":
            return self._next()
        words = self._take("the", "adv") if self._tag() in ("the", "adv") else []
        while True:
            words += self._take("word", "noun")
            if not words:
                raise NotRead
            adjective = words[-1].lower in ADJECTIVES and not any(t.tag == "noun" for t in words)
            ahead = self._link() if adjective else 0
            if ahead and self._tag(ahead) in ("word",) and self._tag(ahead + 1) in ("word", "noun"):
                words += self._next(ahead)  # "a red and white boat"
            elif self._lower() == "of" and words[-1].lower in ("some", "many", "most", "all", "several", "one", "each"):
                words += self._next() + self._take("the", "it")
                if words[-1].tag == "it":
                    return words
            else:
                return words

    def _modifiers(
        self, *, top: bool, in_predicate: bool, verb_seen: bool, within: str = "", of: Sequence[Token] = ()
    ) -> list[Modifier]:
        found: list[Modifier] = []
        while True:
            link = self._link()
            tag = self._tag(link)
            if self._tag(link) == "the" and self._lower(link + 1) == "of" and self._tag(link + 2) == "who":
                found.append(self._relative(self._next(link), count=3))  # "some of which"
                continue
            again = tag in ("ing", "part") and any(modifier.kind in ("ing", "part") for modifier in found)
            inmost = tag == "who" and self._lower(link) in ("which", "where")
            if link and (tag not in ("ing", "part", "who", "prep") or not (top or again or inmost)):
                return found
            if link and self._tag(link - 1) == "and" and tag in ("ing", "part") and not again:
                return found  # another predicate of the same subject
            if link and tag == "prep" and self._clause_after_lead(link):
                return found
            if within == "place" and self._lower(link) == "with":
                return found  # "sits on a bench with a dog": the one who sits has a dog
            if tag == "prep" and self._tag(link + 1) == "who":
                found.append(self._relative(self._next(link), count=2))  # "through which"
            elif tag == "prep":
                found.append(self._prepositional(self._next(link), single=not in_predicate, of=of))
            elif tag in ("ing", "part"):
                found.append(self._participle(self._next(link)))
            elif not link and (top or in_predicate) and tag == "while" and self._tag(1) == "ing":
                found.append(self._participle(self._next()))
            elif tag == "who":
                found.append(self._relative(self._next(link)))
            elif not link and tag == ":":
                words = self._next()
                found.append(Modifier(":", [], words, self._nouns(verb_seen=True)))
            elif not link and tag == "(":
                found.append(self._bracket())
            elif not link and tag == "adv" and self._lower() in ADVERBS and in_predicate:
                found.append(Modifier("adv", [], self._next()))
            else:
                return found
            if found[-1].link and self._tag() == "," and not verb_seen and self._tag(1) in ("verb", "aux"):
                found[-1].close = self._next()

    def _prepositional(self, link: list[Token], single: bool = False, of: Sequence[Token] = ()) -> Modifier:
        words = self._take("adv") + self._next()
        if self._tag() == "prep":  # "from behind the car"
            words += self._next()
        modifier = Modifier("prep", link, words)
        if self._tag() in ("the", "noun", "word", "it", "adv"):
            place = words[-1].lower in PLACES
            thing = any(token.tag == "noun" for token in of)
            within = "noun" if thing else "place" if place and not single else ""
            modifier.nouns = self._nouns(
                verb_seen=True, single=single and place and self._lists > 0, top=False, within=within
            )
        elif self._tag() == "ing":
            modifier.modifiers = [self._participle([])]
        return modifier

    def _second_object(self) -> list[Modifier]:
        """Read the second of two objects: "gives the room a cosy look"."""
        return [Modifier("object", [], [], self._nouns(verb_seen=True, top=False))] if self._tag() == "the" else []

    def _bracket(self) -> Modifier:
        words = self._next()
        while self._tag() not in ("end", ")"):
            words += self._next()
        return Modifier("(", [], words + self._take(")"))

    def _participle(self, link: list[Token]) -> Modifier:
        kind = self._tag()
        words = self._take("adv") + self._next() + self._take("adv", "to")
        words += self._take("ing") if words[-1].tag == "to" else []
        modifier = Modifier(kind, link, words)
        if self._tag() in ("the", "noun", "word", "it"):
            modifier.nouns = self._nouns(verb_seen=True, top=False)
            modifier.modifiers = self._second_object()
        agent = kind == "part" and self._lower() == "by"  # "surrounded by trees and a lake"
        modifier.modifiers += self._modifiers(top=False, in_predicate=agent, verb_seen=True)
        return modifier


def _begin_alike(first: Noun, other: Token) -> bool:
    """Say whether a phrase is of one list with another: "a window with curtains, a rug" has a rug beside the window."""
    return (first.words[0].tag == "the") == (other.tag == "the")
