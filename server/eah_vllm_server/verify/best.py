"""Chooses among several answers the one that says least of what the model denies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.rewrite import remove


@dataclass(frozen=True)
class Candidate:
    """An answer, its mentions, and P(yes) by object; an object that was not asked about has none."""

    answer: str
    mentions: Sequence[Mention]
    p_yes: Mapping[str, float]


def denied_mass(candidate: Candidate, threshold: float) -> float:
    """Return the sum, over the denied mentions of an answer, of the chance that they are not there."""
    chances = [candidate.p_yes.get(mention.object, 1.0) for mention in candidate.mentions]
    return sum(1 - chance for chance in chances if chance < threshold)


def select_best(candidates: Sequence[Candidate], threshold: float) -> int:
    """Return the index of the answer with the least denied mass.

    Of equal ones the answer that loses fewer words by removing comes first, then the one with more confirmed objects,
    then the earlier one.

    Args:
        candidates: at least one answer.
        threshold: P(yes) below it is denied.
    """

    def rank(i: int) -> tuple[float, int, int, int]:
        candidate = candidates[i]
        denied = {name for name, chance in candidate.p_yes.items() if chance < threshold}
        left = remove(candidate.answer, candidate.mentions, denied)
        lost = len(candidate.answer.split()) - len(left.split())
        named = {mention.object for mention in candidate.mentions}
        confirmed = sum(candidate.p_yes.get(name, 0.0) >= threshold for name in named)
        return round(denied_mass(candidate, threshold), 9), lost, -confirmed, i

    return min(range(len(candidates)), key=rank)
