"""The shape of a sentence: clauses, predicates, lists of noun phrases and what modifies them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from eah_vllm_server.verify.lexicon import LEANING
from eah_vllm_server.verify.tokens import Token


@dataclass
class Noun:
    """A noun phrase: its words up to the noun, and its modifiers."""

    words: list[Token]
    modifiers: list[Modifier] = field(default_factory=list)


@dataclass
class Nouns:
    """Noun phrases in a list; `links[i]` are the signs and words before `items[i]`, such as ", and"."""

    items: list[Noun]
    links: list[list[Token]]


@dataclass
class Modifier:
    """What adds something to a noun or to a predicate.

    Attributes:
        kind: prep, ing, part, who, or ":".
        link: a comma or "and" before it.
        words: the preposition, the participle with its adverbs, or the relative pronoun.
        nouns: the object of the preposition or participle.
        modifiers: what follows an object, or stands in its place.
        clause: what follows a relative pronoun.
        close: a comma after it.
    """

    kind: str
    link: list[Token]
    words: list[Token]
    nouns: Nouns | None = None
    modifiers: list[Modifier] = field(default_factory=list)
    clause: Clause | None = None
    close: list[Token] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The preposition or participle in lower case."""
        return self.words[-1].lower if self.words else ""


@dataclass
class Predicate:
    """A verb with what belongs to it; `aux` are the words before the last verb or participle."""

    link: list[Token]
    aux: list[Token]
    main: list[Token]
    nouns: Nouns | None = None
    modifiers: list[Modifier] = field(default_factory=list)


@dataclass
class Clause:
    """A subject with its predicates; a caption's "A dog on a couch." has none.

    Attributes:
        link: what joins it to the clause before.
        leads: what stands before the subject.
        subject: None where the subject follows the verb ("on the left is a dog").
        predicates: one or more with one subject.
    """

    link: list[Token]
    leads: list[Modifier]
    subject: Nouns | None
    predicates: list[Predicate] = field(default_factory=list)


Node = Noun | Nouns | Modifier | Predicate | Clause


def tokens_of(node: Node | None) -> Iterator[Token]:
    """Yield a node's tokens in the order of the text."""
    match node:
        case Noun():
            yield from node.words
            for modifier in node.modifiers:
                yield from tokens_of(modifier)
        case Nouns():
            for link, item in zip(node.links, node.items, strict=True):
                yield from link
                yield from tokens_of(item)
        case Modifier():
            yield from node.link
            yield from node.words
            yield from tokens_of(node.nouns)
            yield from tokens_of(node.clause)
            for modifier in node.modifiers:
                yield from tokens_of(modifier)
            yield from node.close
        case Predicate():
            yield from node.link
            yield from node.aux
            yield from node.main
            yield from tokens_of(node.nouns)
            for modifier in node.modifiers:
                yield from tokens_of(modifier)
        case Clause():
            yield from node.link
            for lead in node.leads:
                yield from tokens_of(lead)
            yield from tokens_of(node.subject)
            for predicate in node.predicates:
                yield from tokens_of(predicate)


def kept(node: Node | None) -> bool:
    """Say whether a node names something that must stay."""
    return any(token.kept for token in tokens_of(node))


def denied(node: Node | None) -> bool:
    """Say whether a node names something that must go."""
    return any(token.denied for token in tokens_of(node))


def deny_pronouns(clause: Clause) -> Clause:
    """Return a clause with its pronouns among the denied, since what they stand for is gone.

    A possessive after the clause's own first object is taken for that object's: "a man with his dog".
    """
    pronouns, seen = set(), False
    for token in tokens_of(clause):
        seen = seen or token.tag == "noun"
        if token.lower in LEANING and not (seen and token.tag == "the"):
            pronouns.add(token.start)
    return deny(clause, pronouns) if pronouns else clause


def deny(clause: Clause, starts: Collection[int]) -> Clause:
    """Return a clause with the tokens that start at the given places among the denied."""

    def tokens(old: list[Token]) -> list[Token]:
        return [replace(token, denied=True, kept=False) if token.start in starts else token for token in old]

    def nouns(old: Nouns | None) -> Nouns | None:
        if old is None:
            return None
        return replace(old, items=[Noun(tokens(item.words), list(map(modifier, item.modifiers))) for item in old.items])

    def modifier(old: Modifier) -> Modifier:
        inner = None if old.clause is None else deny(old.clause, starts)
        return replace(old, nouns=nouns(old.nouns), modifiers=list(map(modifier, old.modifiers)), clause=inner)

    predicates = [
        replace(old, nouns=nouns(old.nouns), modifiers=list(map(modifier, old.modifiers))) for old in clause.predicates
    ]
    leads = list(map(modifier, clause.leads))
    return replace(clause, leads=leads, subject=nouns(clause.subject), predicates=predicates)
