"""Compares an engine's answers with what a CPU computed: float32 to a bound, bfloat16 by the side on which it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOLERANCE = 1e-3


def equal(name: str, requests: Sequence[Any], answers: Sequence[Any], result: Any) -> None:
    """Add a row: tokens are the reference's, and log-probabilities near it, also at the last token where it has them.

    Args:
        name: what is compared.
        requests: `vllm_engine.Request`s.
        answers: a `vllm_engine.Answer` to each.
        result: a `rows.Result`.
    """
    right, worst = 0, 0.0
    for request, answer in zip(requests, answers, strict=True):
        expected = request.expected()
        difference = answer.difference(expected["logprobs"])
        if "last" in expected:
            difference = max(difference, answer.difference_at_last(expected["last"]))
        same = answer.tokens == expected["tokens"] and answer.prompt_token_ids == request.case["prompt_token_ids"]
        worst = max(worst, difference)
        right += same and difference < TOLERANCE
    result.row(name, right, len(requests), worst=worst, allowed=TOLERANCE)


def nearer(name: str, requests: Sequence[Any], answers: Sequence[Any], result: Any) -> None:
    """Add a row: with its methods an answer lies nearer to the reference with them, without them to the one without.

    Of cases alone in which rounding changes no choice. The arguments are those of `equal`.
    """
    right = of = 0
    for request, answer in zip(requests, answers, strict=True):
        if request.case["clear"]:
            of += 1
            on, off = (answer.difference(request.case[side]["logprobs"]) for side in ("on", "off"))
            right += (on < off) == request.on
    result.row(name, right, of)
