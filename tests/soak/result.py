"""What a soak found: the verdict on each answer, counts by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.soak.asks import Ask, Sending
from tests.soak.check import EFFECT, differences, first_other_token, logprob_distance
from tests.soak.client import Answer

COLUMNS = ("sent", "finished", "refused", "aborted", "equal", "different")
Expected = Sequence[Answer | None]
"""By ask; None where it must be refused."""


@dataclass(slots=True)
class Soak:
    """What was asked, what should have come back, what came back."""

    asks: list[Ask]
    expected: Expected
    """Stock vLLM's answer to a plain ask; our own, alone in the engine, to one with EAH."""
    stock: Expected
    """Stock vLLM's answer to each ask without its EAH options."""
    plan: list[Sending] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What is wrong beyond single answers."""
    facts: dict[str, float] = field(default_factory=dict)


def count(soaked: Soak, expected: Expected) -> tuple[dict[str, Counter[str]], list[str]]:
    """Counts by kind, and a line for every wrong answer; what came of an aborted one is compared too."""
    rows: dict[str, Counter[str]] = {kind: Counter() for kind in sorted({ask.kind for ask in soaked.asks})}
    wrong = []
    for sending, answer in zip(soaked.plan, soaked.answers, strict=True):
        ask = soaked.asks[sending.ask]
        problems = _problems(ask, sending, answer, expected[sending.ask])
        came = answer.refusal or any(choice.tokens for choice in answer.choices)
        verdict = ("different" if problems else "equal") if came else "nothing to compare"
        state = "refused" if answer.refusal else "finished" if answer.finished else "aborted"
        rows[ask.kind].update(("sent", state, verdict))
        wrong += [f"{ask.kind} {ask.eah} {sending}: {problem}" for problem in problems]
    rows["all"] = sum(rows.values(), Counter())
    return rows, wrong


def _problems(ask: Ask, sending: Sending, answer: Answer, wanted: Answer | None) -> list[str]:
    if wanted is None:
        refused = bool(answer.refusal) and ask.refused in answer.refusal
        return [] if refused else [f"not refused by the name {ask.refused}: {answer.refusal!r}"]
    if answer.refusal:
        return [f"refused: {answer.refusal}"]
    return differences(answer, wanted, with_report=ask.eah is not None and sending.report)


def mixed_up(expected: Expected) -> Expected:
    """For each ask the expected answer of another: a check that finds one of these right checks nothing."""
    return [
        next(other for other in (*expected[idx + 1 :], *expected[:idx]) if _unlike(answer, other))
        for idx, answer in enumerate(expected)
    ]


def _unlike(answer: Answer | None, other: Answer | None) -> bool:
    if answer is None or other is None:
        return answer is not other
    if len(answer.choices) != len(other.choices):
        return False
    return logprob_distance(answer.choices[0].logprobs[0], other.choices[0].logprobs[0]) > EFFECT


def check_alone(soaked: Soak) -> None:
    """What EAH left alone is stock vLLM's answer; what it changed is another one, or this test proves nothing."""
    applied = differ = 0
    for ask, answer, stock in zip(soaked.asks, soaked.expected, soaked.stock, strict=True):
        if answer is None or stock is None or ask.eah is None:
            continue
        if answer.report is None:
            soaked.problems.append(f"{ask.kind}: no report")
        elif not answer.report["applied"]:
            wrong = differences(answer, stock, with_report=False)
            soaked.problems += [f"{ask.kind}: not applied, yet not stock vLLM's answer: {line}" for line in wrong]
        else:
            applied += 1
            differ += logprob_distance(answer.choices[0].logprobs[0], stock.choices[0].logprobs[0]) > EFFECT
    soaked.facts |= {"asks with EAH applied": applied, "of these unlike stock vLLM": differ}
    if differ < 0.9 * applied or not applied:
        soaked.problems.append(f"EAH had an effect on {differ} of {applied} answers only")


def add_distances(soaked: Soak) -> None:
    """How far the answers are from the expected ones, whether the check allows it or not."""
    furthest = other_token = 0.0
    for sending, answer in zip(soaked.plan, soaked.answers, strict=True):
        wanted = soaked.expected[sending.ask]
        for choice, one in zip(answer.choices, wanted.choices if wanted else (), strict=False):
            if choice.logprobs:
                furthest = max(furthest, logprob_distance(choice.logprobs[0], one.logprobs[0]))
                other_token += first_other_token(choice, one) is not None
    soaked.facts |= {"largest distance of first-token logprobs": furthest, "answers with another token": other_token}


def render(soaked: Soak, rows: dict[str, Counter[str]], wrong: Sequence[str]) -> str:
    """Counts, facts and everything that is wrong, as text."""
    lines = [f"{'':24}" + "".join(f"{name:>10}" for name in COLUMNS)]
    lines += [f"{kind:24}" + "".join(f"{counts[name]:10}" for name in COLUMNS) for kind, counts in rows.items()]
    lines += [
        f"{name}: {number:.3g}" if number < 1000 else f"{name}: {number:.0f}" for name, number in soaked.facts.items()
    ]
    return "\n".join([*lines, *(f"WRONG {line}" for line in (*soaked.problems, *wrong))]) + "\n"
