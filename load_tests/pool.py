"""The scenes, and the right answers: what the server answers to each request when it is alone, before any load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass
class Pool:
    """Scenes with their references, by `(scene, kind, eah)`."""

    scenes: list[Scene] = field(default_factory=list)
    references: dict[tuple[int, str, bool], Reference] = field(default_factory=dict)
    passed_over: int = 0

    def reference(self, ask: Ask) -> Reference:
        """Return the right answer to a request."""
        return self.references[ask.scene, ask.kind, ask.eah]

    def changed(self) -> float | None:
        """Return the share of captions that EAH changes; None where EAH was not asked for."""
        pairs = [
            (self.references[idx, CAPTION, False].text, self.references[idx, CAPTION, True].text)
            for idx in range(len(self.scenes))
            if (idx, CAPTION, True) in self.references
        ]
        return sum(off != on for off, on in pairs) / len(pairs) if pairs else None

    def put_a_changed_one_first(self) -> None:
        """Move a scene whose caption EAH changes to the front, so that one picture is enough to see EAH in the text."""
        for idx in range(len(self.scenes)):
            off, on = (self.references.get((idx, CAPTION, eah)) for eah in (False, True))
            if off and on and off.text != on.text:
                self.scenes[0], self.scenes[idx] = self.scenes[idx], self.scenes[0]
                swapped = {0: idx, idx: 0}
                self.references = {(swapped.get(i, i), k, e): one for (i, k, e), one in self.references.items()}
                return

    def mixed_up(self) -> Pool:
        """Return the pool with other scenes' references: a judge that finds answers right by these judges nothing."""
        number = len(self.scenes)
        swapped = {}
        for (idx, kind, eah), own in self.references.items():
            others = (self.references[(idx + by) % number, kind, eah] for by in range(1, number))
            swapped[idx, kind, eah] = next(other for other in others if other.text != own.text)
        return Pool(self.scenes, swapped, self.passed_over)


def ask_alone(target: Target, number: int, kinds: Sequence[str], settings: Sequence[bool]) -> Pool:
    """Ask about scenes one request at a time, and make a pool of `number` scenes.

    Args:
        target: the server to ask.
        number: number of scenes.
        kinds: kinds of request that are made about each scene.
        settings: False for EAH off, True for EAH on; one of them or both.

    Raises:
        TargetError: it refuses a request, returns no log-probabilities, or is undecided about nearly every scene.
    """
    pool = Pool()
    with openai.OpenAI(base_url=f"{target.url}/v1", api_key=target.api_key, max_retries=0) as client:
        for scene in _candidates():
            found = {(k, e): _ask(client, target, scene, k, e) for k in kinds for e in settings}
            if min(reference.margin for reference in found.values()) < LEVEL:
                pool.passed_over += 1
                if pool.passed_over > 10 * number:
                    asked = pool.passed_over + len(pool.scenes)
                    raise TargetError(f"of {asked} scenes only {len(pool.scenes)} have one right answer")
                continue
            idx = len(pool.scenes)
            pool.scenes.append(scene)
            pool.references |= {(idx, kind, eah): reference for (kind, eah), reference in found.items()}
            if len(pool.scenes) == number:
                break
    pool.put_a_changed_one_first()
    return pool


def _candidates() -> Iterator[Scene]:
    start = FIRST
    while True:
        yield from split_scenes("test", AT_ONCE, start)
        start += AT_ONCE


def _ask(client: openai.OpenAI, target: Target, scene: Scene, kind: str, eah: bool) -> Reference:
    body = fields(Ask(0, kind, eah), target.model, report=True)
    try:
        reply: Any = client.chat.completions.create(
            model=body.pop("model"),
            messages=messages(scene, kind),  # type: ignore[arg-type]
            max_tokens=question(scene, kind)[1],
            temperature=0,
            logprobs=True,
            top_logprobs=2,
            extra_body=body,
        )
    except openai.APIError as error:
        raise TargetError(f"{target.url} does not answer one request alone: {error}") from error
    choice = reply.choices[0]
    if choice.logprobs is None:
        raise TargetError(f"{target.url} answers without log-probabilities, by which level choices are found")
    margins = [token.top_logprobs[0].logprob - token.top_logprobs[1].logprob for token in choice.logprobs.content]
    return Reference(choice.message.content or "", (reply.model_extra or {}).get("eah"), min(margins))
