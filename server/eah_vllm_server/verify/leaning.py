"""Finds words that lean on what was said before, and no longer can: "it", "also", "another"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eah_vllm_server.verify.grammar import Clause, Modifier, tokens_of
from eah_vllm_server.verify.lexicon import IMAGE_WORDS, LEANING, OPENERS, PEOPLE, SHOWING, WORDS_OF_ADDING
from eah_vllm_server.verify.tokens import Token

_THINGS = ("it", "its")
_PERSONS = ("he", "she", "him", "her", "his")


@dataclass(frozen=True, slots=True)
class _Named:
    gone: bool
    person: bool


class Leaning:
    """Remembers what the last sentence named, and what of it is gone."""

    def __init__(self) -> None:
        self._last: list[_Named] = []
        self._names: set[str] = set()
        self.something_left = False
        self.last_gone = False

    def forget(self) -> None:
        """Forget what the last sentence named; the next one speaks of something else."""
        self._last = []

    def deny_pronouns(self, tokens: Sequence[Token]) -> list[Token]:
        """Return the tokens, with the pronouns among the denied whose noun is denied.

        What a pronoun means is a guess: of the sentence's own objects before it, or else of those of the sentence
        before, the first that fits.
        """
        named: list[_Named] = []
        result = []
        for i, token in enumerate(tokens):
            if token.tag == "noun":
                named.append(_Named(token.denied, token.lower.split()[-1] in PEOPLE))
            elif token.lower in LEANING and not _speaks_of_the_image(tokens, i):
                token = replace(token, denied=_dangles(token.lower, named or self._last))
            result.append(token)
        return result

    def without_openers(self, clauses: Sequence[Clause]) -> list[Clause]:
        """Return clauses without "additionally" and the like where nothing is left to add to."""
        first, *others = clauses
        leads = [lead for lead in first.leads if not self._adds_to_nothing(lead)]
        return [replace(first, leads=leads), *others]

    def _adds_to_nothing(self, lead: Modifier) -> bool:
        opening = [token.lower for token in tokens_of(lead) if token.tag != ","]
        if opening == ["in", "addition"]:
            return not self.something_left
        return lead.kind == "adv" and opening[0] in OPENERS and (self.last_gone or not self.something_left)

    def without_also(self, tokens: Sequence[Token]) -> list[Token]:
        """Return the tokens without "also" where nothing is left to add to; "another" is then "a"."""
        seen = named = self.something_left
        names = set(self._names)
        result = []
        for i, token in enumerate(tokens):
            if token.tag == "adv" and token.lower in WORDS_OF_ADDING and not seen:
                continue
            if token.lower == "another" and i + 1 < len(tokens):
                noun = next((t for t in tokens[i + 1 :] if t.tag == "noun"), None)
                if noun is not None and noun.object and noun.object not in names:
                    token = replace(token, text="an" if tokens[i + 1].lower[0] in "aeiou" else "a")
            named = named or token.tag == "noun"
            seen = seen or (named and token.tag in ("and", "while", ";"))
            names.add(token.object)
            result.append(token)
        return result

    def note(self, tokens: Sequence[Token], left: bool, tokens_left: Sequence[Token]) -> None:
        """Remember a sentence's tokens, whether it is left at all, and the tokens that are."""
        named = [
            _Named(token.denied or not left, token.lower.split()[-1] in PEOPLE)
            for token in tokens
            if token.tag == "noun"
        ]
        if named or not any(token.lower in LEANING for token in tokens):
            self._last = named
        self._names |= {token.object for token in tokens_left if token.object}
        self.something_left = bool(self._names)
        self.last_gone = not left


def _dangles(pronoun: str, named: Sequence[_Named]) -> bool:
    if pronoun in _THINGS:
        fitting = [each for each in named if not each.person][:1]
    elif pronoun in _PERSONS:
        fitting = [each for each in named if each.person][:1]
    else:  # "they" may be all of them; one alone is no longer "they"
        those = [each for each in named if each.person] or named
        return any(each.gone for each in those) and sum(not each.gone for each in those) < 2
    return bool(fitting) and fitting[0].gone


def _speaks_of_the_image(tokens: Sequence[Token], i: int) -> bool:
    """Say whether "it" is the picture, the weather or the hour: "it shows", "it is a sunny day"."""
    following = [token.lower for token in tokens[i + 1 : i + 9]]
    if tokens[i].lower != "it" or not following:
        return False
    return following[0] in SHOWING or any(word in IMAGE_WORDS for word in following[1:])
