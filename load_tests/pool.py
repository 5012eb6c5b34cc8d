"""The scenes, and the right answers: what the server answers to each request when it is alone, before any load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import openai

from eah_vllm.scenes.world import Scene, split_scenes
from load_tests.plan import CAPTION, Ask, fields, messages, question
from load_tests.target import Target, TargetError

FIRST = 20_000
"""Place of the first scene in the split `test`: training never saw these scenes, and no figure of the docs has them."""
LEVEL = 0.002
"""Log-probabilities closer than this count as equal: another batch is summed in another order, and greedy decoding may
rightly take either token. A scene with such a choice has more than one right answer, and is passed over."""
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Reference:
    """The answer to a request that was alone in the server."""

    text: str
    report: dict[str, Any] | None
    margin: float
    """Least difference, over all tokens, between the log-probabilities of the chosen and the next likely token."""
    verify: dict[str, Any] | None = None
    """The check's report; `text` is then what the check has left of the answer."""


@dataclass
class Pool:
    """Scenes with their references, by `(scene, kind, eah)`, and those of checked captions, by `(scene, eah)`."""

    scenes: list[Scene] = field(default_factory=list)
    references: dict[tuple[int, str, bool], Reference] = field(default_factory=dict)
    passed_over: int = 0
    verified: dict[tuple[int, bool], Reference] = field(default_factory=dict)

    def reference(self, ask: Ask) -> Reference:
        """Return the right answer to a request."""
        if ask.verify:
            found = self.verified[ask.scene, ask.eah]
            return found if ask.rewritten else replace(found, text=self.references[ask.scene, ask.kind, ask.eah].text)
        return self.references[ask.scene, ask.kind, ask.eah]

    def changed(self) -> float | None:
        """Return the share of captions that EAH changes; None where EAH was not asked for."""
        pairs = [
            (self.references[idx, CAPTION, False].text, self.references[idx, CAPTION, True].text)
            for idx in range(len(self.scenes))
            if (idx, CAPTION, True) in self.references
        ]
        return sum(off != on for off, on in pairs) / len(pairs) if pairs else None

    def changed_by_verify(self) -> float | None:
        """Return the share of captions that a check changes; None where none was asked for."""
        texts = [(self.references[idx, CAPTION, eah].text, one.text) for (idx, eah), one in self.verified.items()]
        return sum(before != after for before, after in texts) / len(texts) if texts else None

    def put_a_changed_one_first(self) -> None:
        """Move a scene whose caption EAH changes to the front, so that one picture is enough to see EAH in the text."""
        for idx in range(len(self.scenes)):
            off, on = (self.references.get((idx, CAPTION, eah)) for eah in (False, True))
            if off and on and off.text != on.text:
                self.scenes[0], self.scenes[idx] = self.scenes[idx], self.scenes[0]
                swapped = {0: idx, idx: 0}
                self.references = {(swapped.get(i, i), k, e): one for (i, k, e), one in self.references.items()}
                self.verified = {(swapped.get(i, i), e): one for (i, e), one in self.verified.items()}
                return

    def mixed_up(self) -> Pool:
        """Return the pool with other scenes' references: a judge that finds answers right by these judges nothing."""
        number = len(self.scenes)
        swapped = {}
        for (idx, kind, eah), own in self.references.items():
            others = (self.references[(idx + by) % number, kind, eah] for by in range(1, number))
            swapped[idx, kind, eah] = next(other for other in others if other.text != own.text)
        checked = {(idx, eah): self.verified[(idx + 1) % number, eah] for idx, eah in self.verified}
        return Pool(self.scenes, swapped, self.passed_over, checked)


def ask_alone(
    target: Target, number: int, kinds: Sequence[str], settings: Sequence[bool], *, verified: bool = False
) -> Pool:
    """Ask about scenes one request at a time, and make a pool of `number` scenes.

    Args:
        target: the server to ask.
        number: number of scenes.
        kinds: kinds of request that are made about each scene.
        settings: False for EAH off, True for EAH on; one of them or both.
        verified: whether captions are also asked for with a check.

    Raises:
        TargetError: it refuses a request, returns no log-probabilities, or is undecided about nearly every scene.
    """
    pool = Pool()
    with openai.OpenAI(base_url=f"{target.url}/v1", api_key=target.api_key, max_retries=0) as client:
        for scene in _candidates():
            found = {(k, e): _ask(client, target, scene, Ask(0, k, e)) for k in kinds for e in settings}
            if min(reference.margin for reference in found.values()) < LEVEL:
                pool.passed_over += 1
                if pool.passed_over > 10 * number:
                    asked = pool.passed_over + len(pool.scenes)
                    raise TargetError(f"of {asked} scenes only {len(pool.scenes)} have one right answer")
                continue
            idx = len(pool.scenes)
            pool.scenes.append(scene)
            pool.references |= {(idx, kind, eah): reference for (kind, eah), reference in found.items()}
            if verified:
                asks = {eah: Ask(0, CAPTION, eah, stream=False, verify=True) for eah in settings}
                pool.verified |= {(idx, eah): _ask(client, target, scene, ask) for eah, ask in asks.items()}
            if len(pool.scenes) == number:
                break
    pool.put_a_changed_one_first()
    return pool


def _candidates() -> Iterator[Scene]:
    start = FIRST
    while True:
        yield from split_scenes("test", AT_ONCE, start)
        start += AT_ONCE


def _ask(client: openai.OpenAI, target: Target, scene: Scene, ask: Ask) -> Reference:
    body = fields(ask, target.model, report=True)
    # Log-probabilities would no longer fit a text that is changed, so the server refuses them there.
    scores: dict[str, Any] = {} if ask.rewritten else {"logprobs": True, "top_logprobs": 2}
    try:
        reply: Any = client.chat.completions.create(
            model=body.pop("model"),
            messages=messages(scene, ask.kind),  # type: ignore[arg-type]
            max_tokens=question(scene, ask.kind)[1],
            temperature=0,
            extra_body=body,
            **scores,
        )
    except openai.APIError as error:
        raise TargetError(f"{target.url} does not answer one request alone: {error}") from error
    choice, more = reply.choices[0], reply.model_extra or {}
    if ask.rewritten:
        return Reference(choice.message.content or "", more.get("eah"), math.inf, more.get("verify"))
    if choice.logprobs is None:
        raise TargetError(f"{target.url} answers without log-probabilities, by which level choices are found")
    margins = [token.top_logprobs[0].logprob - token.top_logprobs[1].logprob for token in choice.logprobs.content]
    return Reference(choice.message.content or "", more.get("eah"), min(margins), more.get("verify"))
