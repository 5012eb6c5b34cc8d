"""The tokens with which a model says yes and no, and what their probabilities say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eah_vllm.options import OptionError, shown

SPACES = ("", " ", "▁", "Ġ")
"""What stands for a space before a word: in the text, and in the vocabularies of SentencePiece and byte-level BPE."""
NEGLIGIBLE = 1e-4
"""A token that is not among those returned counts as impossible where it could move P(yes) by no more than this."""

LARGE = 700.0
"""Nearly the largest number whose exponential is a float."""


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """IDs of the tokens that begin a yes, and of those that begin a no."""

    yes: frozenset[int]
    no: frozenset[int]

    @property
    def all(self) -> list[int]:
        """Both kinds."""
        return sorted(self.yes | self.no)


@lru_cache(maxsize=64)
def answer_tokens(tokenizer: Any, yes: tuple[str, ...], no: tuple[str, ...]) -> AnswerTokens:
    """Return the tokens that are the words for yes and no: in lower case, capitalized and in capitals.

    Args:
        tokenizer: the model's tokenizer.
        yes: words for yes.
        no: words for no.

    Raises:
        OptionError: none of the words for one of them is a token of this model.
    """
    found = {}
    for field, words in (("yes", yes), ("no", no)):
        found[field] = frozenset(one for word in words for one in _tokens_of(tokenizer, word.strip()))
        if not found[field]:
            raise OptionError(f"verify.{field}", f"no word of it is one token of this model: {shown(list(words))}")
    return AnswerTokens(found["yes"], found["no"])


def _tokens_of(tokenizer: Any, word: str) -> set[int]:
    found = set()
    special = set(tokenizer.all_special_ids)
    for spelled in {word, word.lower(), word.capitalize(), word.upper()}:
        candidates = {tokenizer.convert_tokens_to_ids(space + spelled) for space in SPACES}
        for text in (spelled, " " + spelled):
            encoded = tokenizer.encode(text, add_special_tokens=False)
            candidates |= set(encoded) if len(encoded) == 1 else set()
        known = {one for one in candidates if isinstance(one, int) and one not in special}
        found |= {one for one in known if tokenizer.decode([one]).strip() == spelled}
    return found


def missing(scores: Mapping[int, float], least: float | None, tokens: Sequence[int]) -> list[int]:
    """Return the tokens whose scores must still be asked for, because they could matter.

    Args:
        scores: the scores that were returned, by token: log-probabilities or logits.
        least: score of the last of the most probable tokens, which no other token exceeds; None where there are none.
        tokens: the tokens whose scores are needed.
    """
    absent = [token for token in tokens if token not in scores]
    if not absent or least is None:
        return absent
    if least == -math.inf:
        return []
    known = sum(math.exp(min(scores[token] - least, LARGE)) for token in tokens if token in scores)
    return absent if len(absent) > NEGLIGIBLE * known else []


def p_yes(scores: Mapping[int, float], tokens: AnswerTokens) -> float:
    """Return the probability of a yes among yes and no; a token without a score counts as impossible.

    Raises:
        ValueError: the model gives neither a probability.
    """
    most = max((scores[token] for token in tokens.all if token in scores), default=-math.inf)
    if most == -math.inf:
        raise ValueError("the model gives no probability to yes and to no")
    yes, no = (
        sum(math.exp(scores[token] - most) for token in side if token in scores) for side in (tokens.yes, tokens.no)
    )
    return yes / (yes + no)
