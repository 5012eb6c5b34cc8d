"""Reads the shape of a sentence from its tagged words.

It is a small grammar of captions, not of English. What does not fit ends the reading with `NotRead`, and the sentence
is then taken as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from eah_vllm_server.verify.cursor import NotRead
from eah_vllm_server.verify.grammar import Clause, Modifier, Predicate, tokens_of
from eah_vllm_server.verify.lexicon import BE
from eah_vllm_server.verify.phrases import PhraseReader
from eah_vllm_server.verify.tokens import Token

MOST_TOKENS = 120


def parse(tokens: Sequence[Token]) -> list[Clause]:
    """Return the clauses of a sentence whose closing sign has been taken off.

    Raises:
        NotRead: the sentence does not fit the grammar.
    """
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise NotRead
    return _Parser(tokens).sentence()


class _Parser(PhraseReader):
    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self._clause_at: dict[tuple[int, bool], bool] = {}

    def _starts_clause(self, ahead: int, joined: bool = False) -> bool:
        start = self._at + ahead
        if (start, joined) not in self._clause_at:
            before, short = self._at, self._short
            self._at, self._short = start, joined
            try:
                self._take("adv")
                self._leads()
                self._nouns(verb_seen=False)
                self._take("adv")
                result = self._tag() in ("verb", "aux")
            except NotRead:
                result = self._tag() in ("verb", "aux") and self._at > start
            self._at, self._short = before, short
            self._clause_at[start, joined] = result
        return self._clause_at[start, joined]

    def sentence(self) -> list[Clause]:
        clauses = [self._clause([])]
        while self._tag() != "end":
            link = self._take(",", ";", "and", "while", "\u2014", "\u2013", "-")
            link += self._take("adv") if link and self._tag() == "adv" and self._lower() == "then" else []
            if not link:
                raise NotRead
            clauses.append(self._clause(link))
            if not clauses[-1].predicates and any(token.tag == "and" for token in link):
                raise NotRead
        return clauses

    def _clause(self, link: list[Token]) -> Clause:
        clause = Clause(link, self._leads(), None)
        if clause.leads and not clause.leads[-1].close and self._tag() in ("verb", "aux"):
            clause.predicates.append(self._predicate([]))  # "on the left is a dog"
            return clause
        clause.subject = self._nouns(verb_seen=False)
        enclosed = any(token.tag == "," for token in tokens_of(clause.subject))
        while True:
            count = self._link() if clause.predicates else int(enclosed and self._tag() == ",")
            adverbs = 0
            while self._tag(count + adverbs) == "adv":
                adverbs += 1
            tag = self._tag(count + adverbs)
            if tag in ("verb", "aux") or (clause.predicates and count and tag in ("ing", "part")):
                clause.predicates.append(self._predicate(self._next(count)))
            else:
                return clause

    def _leads(self) -> list[Modifier]:
        leads: list[Modifier] = []
        while True:
            if self._tag() == "adv" and self._tag(1) == ",":
                leads.append(Modifier("adv", [], self._next(), close=self._next()))
            elif self._tag() == "while":
                words = self._next()
                inner = self._clause([])
                leads.append(Modifier("who", [], words, clause=inner, close=self._comma()))
            elif self._tag() in ("prep", "ing", "part") and not (leads and not leads[-1].close):
                lead = self._prepositional([]) if self._tag() == "prep" else self._participle([])
                lead.close = [*lead.close, *self._comma()] if not lead.close else lead.close
                leads.append(lead)
            else:
                return leads

    def _comma(self) -> list[Token]:
        return self._next() if self._tag() == "," else []

    def _predicate(self, link: list[Token]) -> Predicate:
        verb = self._take("aux", "adv", "verb")
        if not verb or verb[-1].tag != "verb" or verb[-1].lower in ("appear", "appears", "seem", "seems"):
            if self._tag() == "to":
                verb += self._take("to", "aux")
            verb += self._next() if self._tag() in ("ing", "part") else []
        verb += self._take("adv")
        if self._tag() == "word" and any(t.lower in BE for t in verb) and self._tag(1) not in ("word", "noun"):
            verb += self._next()  # "is visible", "is white"
            while self._tag() == "and" and self._tag(1) == "word" and self._tag(2) in ("end", "prep", ",", "and"):
                verb += self._next(2)
        if not verb:
            raise NotRead
        last = max((i for i, t in enumerate(verb) if t.tag in ("verb", "ing", "part", "word")), default=len(verb))
        predicate = Predicate(link, verb[:last], verb[last:])
        if self._tag() in ("the", "noun", "word", "it"):
            predicate.nouns = self._nouns(verb_seen=True)
            predicate.modifiers = self._second_object()
        predicate.modifiers += self._modifiers(top=True, in_predicate=True, verb_seen=True)
        return predicate

    def _clause_after_lead(self, ahead: int) -> bool:
        """Say whether a preposition after a comma begins a clause of its own: ", in the back there is a dog"."""
        before = self._at
        self._at += ahead
        try:
            leads = self._leads()
            inverted = bool(leads) and not leads[-1].close and self._tag() in ("verb", "aux")
            result = inverted or self._starts_clause(0)
        except NotRead:
            result = False
        self._at = before
        return result

    def _relative(self, link: list[Token], count: int = 1) -> Modifier:
        pronoun = self._next(count)
        modifier = Modifier("who", link, pronoun)
        if pronoun[0].lower == "whose" or self._tag() not in ("verb", "aux", "adv"):
            modifier.clause = self._clause([])
        else:
            clause = Clause([], [], None, [self._predicate([])])
            while (count := self._link()) and self._tag(count - 1) == "and" and self._tag(count) in ("verb", "aux"):
                clause.predicates.append(self._predicate(self._next(count)))
            modifier.clause = clause
        return modifier
