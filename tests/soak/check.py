"""Compares an answer under load with the expected one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.soak.client import Answer, Choice

LOGPROB_TOLERANCE = 1e-3
"""The same request in another batch is summed in another order."""
EFFECT = 20 * LOGPROB_TOLERANCE
"""Answers further apart than this are taken for different ones."""


def differences(answer: Answer, expected: Answer, *, with_report: bool) -> list[str]:
    """What is wrong with an answer; an unfinished one is compared as far as it came."""
    found = []
    if with_report and answer.finished and answer.report != expected.report:
        found.append(f"report {answer.report}, not {expected.report}")
    for choice, wanted in zip(answer.choices, expected.choices, strict=True):
        if answer.finished and len(choice.tokens) != len(wanted.tokens):
            found.append(f"{len(choice.tokens)} tokens, not {len(wanted.tokens)}")
        elif choice.tokens:
            distance = logprob_distance(choice.logprobs[0], wanted.logprobs[0])
            if distance > LOGPROB_TOLERANCE:
                found.append(f"first-token logprobs {distance:.2g} apart")
            found += _other_token(choice, wanted)
    return found


def logprob_distance(found: dict[str, float], expected: dict[str, float]) -> float:
    """Largest difference over the likeliest tokens.

    The least likely listed may be another at nearly the same probability: a token that one side lacks counts as far as
    it lies above the other side's last.
    """
    common = found.keys() & expected.keys()
    apart = [abs(found[token] - expected[token]) for token in common]
    for one, other in ((found, expected), (expected, found)):
        apart += [one[token] - min(other.values()) for token in one.keys() - common]
    return max(apart, default=math.inf)


def first_other_token(choice: Choice, expected: Choice) -> int | None:
    """Position at which the tokens part, None where they do not."""
    pairs = enumerate(zip(choice.tokens, expected.tokens, strict=False))
    return next((idx for idx, (token, wanted) in pairs if token != wanted), None)


def _other_token(choice: Choice, expected: Choice) -> Sequence[str]:
    idx = first_other_token(choice, expected)
    if idx is None:
        return ()
    logprobs = expected.logprobs[idx]
    # Greedy decoding may take either of two tokens that are level within the tolerance; the rest then differs rightly.
    behind = logprobs[expected.tokens[idx]] - logprobs.get(choice.tokens[idx], -math.inf)
    if behind <= 2 * LOGPROB_TOLERANCE:
        return ()
    return (f"token {idx} is {choice.tokens[idx]}, {behind:.2g} less likely than the expected one",)
