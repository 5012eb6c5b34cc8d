"""Words of a sentence with their part in it, told from lists and endings.

A caption's English is plain enough for that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eah_vllm_server.verify.lexicon import (
    ADVERBS,
    AUXILIARIES,
    BASE_VERBS,
    COORDINATORS,
    DETERMINERS,
    JOINING,
    LONG_PREPOSITIONS,
    MODALS,
    NO_PARTICIPLE,
    OBJECT_PRONOUNS,
    PARTICIPLES,
    PREPOSITIONS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    SUBORDINATORS,
    VERBS,
)
from eah_vllm_server.verify.mentions import Mention

_LONG: dict[str, list[tuple[str, ...]]] = {}
for _phrase in LONG_PREPOSITIONS:
    _LONG.setdefault(_phrase[0], []).append(_phrase)
_CLOSED = (
    ("and", COORDINATORS),
    ("who", RELATIVES),
    ("while", SUBORDINATORS),
    ("aux", AUXILIARIES),
    ("it", SUBJECT_PRONOUNS | OBJECT_PRONOUNS),
    ("the", DETERMINERS),
    ("prep", PREPOSITIONS),
)
_AFTER_THERE = AUXILIARIES | VERBS | {"\u2019s", "'s", "also"}
_TAKES_AS = ("serv", "act", "dress", "use", "known", "work")
_BEFORE_VERB = ("noun", "word", "it", "adv", "who", "and", ",", "ing", "part")
_BEFORE_PARTICIPLE = ("noun", "word", "aux", "adv", ",", "and")
_BEFORE_ADVERB = ("aux", "verb", "ing", "part", "", ",", "noun")
_TOKEN = re.compile(r"\w+(?:[-./]\w+)*(?:['\u2019](?!s\b)\w+)?|['\u2019]s?\b|[^\w\s*`]")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a mention, a preposition of several words, or a sign.

    Attributes:
        text: as it stands in the result.
        start: index in the answer.
        end: index after it in the answer.
        tag: its part in the sentence, see `tag_tokens`.
        denied: whether it names what must go.
        kept: whether it names what must stay.
        object: the object that it names.
        lower: the text in lower case, with one space between words.
    """

    text: str
    start: int
    end: int
    tag: str = "word"
    denied: bool = False
    kept: bool = False
    object: str = ""
    lower: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", " ".join(self.text.lower().split()))


def tokenize(answer: str, start: int, end: int, mentions: Sequence[tuple[Mention, bool]]) -> list[Token]:
    """Split a sentence; each mention inside it is one token, with True for those that are denied."""
    tokens, at = [], start
    for mention, denied in mentions:
        if start <= mention.start and mention.end <= end:
            tokens += _plain(answer, at, mention.start)
            tokens.append(Token(mention.text, mention.start, mention.end, "noun", denied, not denied, mention.object))
            at = mention.end
    return tag_tokens([*tokens, *_plain(answer, at, end)])


def _plain(answer: str, start: int, end: int) -> list[Token]:
    return [Token(match[0], match.start(), match.end()) for match in _TOKEN.finditer(answer, start, end)]


def tag_tokens(tokens: Sequence[Token]) -> list[Token]:
    """Give each token its tag.

    The tags are noun (a mention), word (an adjective or another noun), the, it, prep, ing, part (a past participle),
    verb, aux, to, and, while, who, adv, or the sign itself.
    """
    joined = _join_prepositions(tokens)
    tagged: list[Token] = []
    for i, token in enumerate(joined):
        before = tagged[-1] if tagged else None
        after = joined[i + 1] if i + 1 < len(joined) else None
        tag = _tag(token, before, after)
        if tag == "verb" and token.lower in BASE_VERBS and _is_singular(tagged):
            tag = "word"  # "a smiling face"
        tagged.append(replace(token, tag=tag))
    return tagged


def _is_singular(tagged: Sequence[Token]) -> bool:
    """Say whether a noun phrase that ends here begins with "a", and is not the last one of several."""
    for i in range(len(tagged) - 1, -1, -1):
        if tagged[i].tag not in ("word", "noun"):
            several = i > 0 and tagged[i - 1].tag == "and" and tagged[-1].tag == "noun"
            return tagged[i].lower in ("a", "an") and not several
    return False


def _join_prepositions(tokens: Sequence[Token]) -> list[Token]:
    joined, i = [], 0
    while i < len(tokens):
        count = max(
            (len(p) for p in _LONG.get(tokens[i].lower, ()) if tuple(t.lower for t in tokens[i : i + len(p)]) == p),
            default=1,
        )
        part = tokens[i : i + count]
        if count > 1 and not any(token.tag == "noun" for token in part):
            text = " ".join(token.text for token in part)
            joined.append(Token(text, part[0].start, part[-1].end, "and" if text.lower() in JOINING else "prep"))
        else:
            joined += part
        i += count
    return joined


def _tag(token: Token, before: Token | None, after: Token | None) -> str:
    word = token.lower
    previous = before.tag if before else ""
    following = after.lower if after else ""
    if token.tag != "word":
        return token.tag
    if not re.match(r"\w", word):
        if not word.startswith(("'", "\u2019")) or (len(word) == 1 and previous not in ("noun", "word")):
            return word
        return "word" if previous in ("noun", "word") else "aux"
    if word == "there" and following in _AFTER_THERE:
        return "it"
    if word == "that" and previous in ("verb", "ing"):
        return "who"  # "notice that the chair is red"
    if (word == "her" and after is not None and _names(after)) or (word == "that" and previous not in ("noun", "word")):
        return "the"
    if word == "to" and following in BASE_VERBS | {"be"}:
        return "to"
    if previous == "to" and word in BASE_VERBS | {"be"}:
        return "ing"
    if word == "as" and before is not None and before.lower.startswith(_TAKES_AS):
        return "prep"
    if word.endswith(("n't", "n\u2019t")):
        return "aux"
    if (word == "one" and previous in ("the", "word")) or word == "ones":
        return "word"
    if before is not None and before.lower in MODALS and word in BASE_VERBS:
        return "verb"
    for tag, members in _CLOSED:
        if word in members:
            return tag
    return _open_tag(word, before, after)


def _open_tag(word: str, before: Token | None, after: Token | None) -> str:
    """Return the tag of a word that is in none of the short lists."""
    previous = before.tag if before else ""
    following = after.lower if after else ""
    after_the = previous == "the" or (before is not None and before.tag == "word" and before.lower.endswith("ly"))
    if word.endswith("ing") and len(word) > 4 and word not in NO_PARTICIPLE:
        names_next = after is not None and (after.tag == "noun" or following not in DETERMINERS | PREPOSITIONS)
        return "word" if after_the and names_next and following.isalpha() else "ing"
    if word in VERBS and previous in _BEFORE_VERB and not after_the:
        return "part" if word in PARTICIPLES and previous in ("noun", "word") else "verb"
    if (word in PARTICIPLES or (word.endswith("ed") and len(word) > 4)) and previous in _BEFORE_PARTICIPLE:
        names_next = after is not None and (after.tag == "noun" or (previous == "and" and _names(after)))
        return "word" if names_next else "part"
    if word in ADVERBS or (word.endswith("ly") and len(word) > 4 and previous in _BEFORE_ADVERB):
        return "adv"
    return "word"


def _names(token: Token) -> bool:
    return token.tag == "noun" or (token.lower.isalpha() and token.lower not in PREPOSITIONS)
