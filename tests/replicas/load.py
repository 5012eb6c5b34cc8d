"""Captions of unseen scenes through the balancer, each compared with the caption of one server alone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from eah_vllm.scenes.world import split_scenes
from tests.soak.check import differences
from tests.soak.client import Answer, Choice
from tools.serving import API_KEY, image_message

SETTINGS: tuple[Any, ...] = (False, True, {"layer": 0}, {"head": 3})
TOKENS = 24
TIMEOUT = 120.0
"""Seconds; the bound within which every request must have been answered or have failed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A caption of a scene with EAH as `eah` says. Without `sticky` the client does not name its image."""

    image: int
    eah: Any
    stream: bool
    sticky: bool = True


@dataclass(slots=True)
class Outcome:
    """An answer, whole or as far as it came before a visible error, and the seconds it took."""

    answer: Answer
    error: str
    seconds: float


def asks(number: int, images: int, *, sticky: bool = True) -> list[Ask]:
    """`number` asks over so many images: every image with every setting, streamed and not."""
    return [
        Ask(idx % images, SETTINGS[idx // images % len(SETTINGS)], idx // (images * len(SETTINGS)) % 2 == 0, sticky)
        for idx in range(number)
    ]


class Load:
    """Asks one address."""

    def __init__(self, url: str, images: int) -> None:
        self._url = url
        scenes = split_scenes("test", images)
        self._messages = [image_message(scene.pil()) for scene in scenes]
        self.keys = [hashlib.sha256(str(message).encode()).hexdigest()[:16] for message in self._messages]

    def run(
        self, plan: Sequence[Ask], concurrency: int, kill_after: int = 0, kill: Callable[[], None] | None = None
    ) -> list[Outcome]:
        """Outcomes in the plan's order; `kill` is called once `kill_after` requests have ended."""
        return asyncio.run(self._run(plan, concurrency, kill_after, kill))

    async def _run(
        self, plan: Sequence[Ask], concurrency: int, kill_after: int, kill: Callable[[], None] | None
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        rest = iter(enumerate(plan))
        base_url = f"{self._url}/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key=API_KEY, max_retries=0, timeout=TIMEOUT) as client:

            async def work() -> None:
                for idx, ask in rest:
                    outcomes[idx] = await self._ask(client, ask)
                    if kill is not None and len(outcomes) == kill_after:
                        kill()

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return [outcomes[idx] for idx in range(len(plan))]

    async def _ask(self, client: openai.AsyncOpenAI, ask: Ask) -> Outcome:
        answer, started = Answer([Choice()]), time.monotonic()
        headers = {"X-Image-Key": self.keys[ask.image]} if ask.sticky else {}
        eah = {"report": True} | (ask.eah if isinstance(ask.eah, dict) else {}) if ask.eah else False
        body = {"eah": eah, "ignore_eos": True, "return_tokens_as_token_ids": True}
        create: Any = client.chat.completions.create
        try:
            reply = await create(
                model="scenes", messages=self._messages[ask.image], temperature=0, max_tokens=TOKENS, stream=ask.stream,
                logprobs=True, top_logprobs=20, extra_body=body, extra_headers=headers,
            )  # fmt: skip
            if ask.stream:
                async for chunk in reply:
                    _read(chunk, answer)
            else:
                _read(reply, answer)
        except (openai.APIError, httpx.HTTPError) as error:  # openai lets httpx's error for a broken stream through
            answer.finished = False
            return Outcome(answer, f"{type(error).__name__}: {error}", time.monotonic() - started)
        return Outcome(answer, "", time.monotonic() - started)


def _read(part: Any, answer: Answer) -> None:
    answer.report = getattr(part, "eah", None) or answer.report
    for choice in part.choices:
        for token in (choice.logprobs and choice.logprobs.content) or ():
            answer.choices[0].tokens.append(token.token)
            answer.choices[0].logprobs.append({top.token: top.logprob for top in token.top_logprobs})


def wrong(plan: Sequence[Ask], outcomes: Sequence[Outcome], expected: Mapping[tuple[int, str], Answer]) -> list[str]:
    """What is wrong with the answers, also with the part that came before an error."""
    return [
        f"{ask}: {text}"
        for ask, outcome in zip(plan, outcomes, strict=True)
        for text in differences(outcome.answer, expected[ask.image, str(ask.eah)], with_report=bool(ask.eah))
    ]
