"""The good requests that are asked again after each hostile one: their answers must not change."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.case import Case, as_json, show
from tests.fuzz.pictures import png, url
from tests.fuzz.wire import Reply
from tests.soak.check import EFFECT, differences, logprob_distance
from tests.soak.client import Answer, Choice

MAX_TOKENS = 8
KINDS: dict[str, dict[str, Any]] = {"off": {}, "on": {"eah": {"report": True}}}


def ask(kind: str) -> Case:
    """One good request, EAH off or on."""
    fields = {"logprobs": True, "top_logprobs": 20, "return_tokens_as_token_ids": True, "ignore_eos": True}
    body = show(url(png()), **(fields | {"max_tokens": MAX_TOKENS} | KINDS[kind]))
    return Case(f"good, {kind}", "good", as_json(body), (200,))


def read(reply: Reply) -> Answer | None:
    """Tokens, log-probabilities and report of an answer; None where it is no answer."""
    found = reply.json()
    if reply.status != 200 or not isinstance(found, dict):
        return None
    positions = found["choices"][0]["logprobs"]["content"]
    tops = [{top["token"]: top["logprob"] for top in position["top_logprobs"]} for position in positions]
    return Answer([Choice([position["token"] for position in positions], tops)], report=found.get("eah"))


@dataclass(slots=True)
class Reference:
    """What the good requests were answered before any hostile one."""

    answers: dict[str, Answer]
    seconds: list[float] = field(default_factory=list)
    furthest: float = 0.0
    """Largest distance of first-token log-probabilities seen so far."""

    def check(self, kind: str, reply: Reply) -> list[str]:
        """What is wrong with the answer to a good request."""
        answer, wanted = read(reply), self.answers[kind]
        if answer is None:
            return [f"the next good request ({kind}) got {reply.status} {reply.problem}{reply.body[:200]!r}"]
        self.seconds.append(reply.seconds)
        self.furthest = max(
            self.furthest, logprob_distance(answer.choices[0].logprobs[0], wanted.choices[0].logprobs[0])
        )
        wrong = differences(answer, wanted, with_report=True)
        return [f"the next good request ({kind}): {line}" for line in wrong]

    def median(self) -> float:
        """Seconds of a good request in this run."""
        return statistics.median(self.seconds)


def reference(replies: dict[str, list[Reply]]) -> Reference:
    """Takes the last of several replies of each kind, when the caches are warm.

    Raises:
        RuntimeError: a good request is not answered, not alike each time, or EAH makes no difference to it.
    """
    answers: dict[str, Answer] = {}
    for kind, several in replies.items():
        read_ones = [read(reply) for reply in several]
        last = read_ones[-1]
        if last is None or any(one is None or differences(one, last, with_report=True) for one in read_ones):
            raise RuntimeError(f"the good request ({kind}) has no steady answer: {[r.body[:300] for r in several]}")
        answers[kind] = last
    on, off = answers["on"], answers["off"]
    if on.report is None or not on.report["applied"] or off.report is not None:
        raise RuntimeError(f"EAH was not applied as asked: {on.report}, {off.report}")
    if logprob_distance(on.choices[0].logprobs[0], off.choices[0].logprobs[0]) < EFFECT:
        raise RuntimeError("EAH made no difference to the good request, so this would prove nothing")
    return Reference(answers, [several[-1].seconds for several in replies.values()])
