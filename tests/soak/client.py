"""Sends requests through the real `openai` client, several at a time, and hangs up where the plan says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.soak.asks import Ask, Sending, body_fields
from tests.soak.server import NAME
from tools.serving import API_KEY, Server

TOP_LOGPROBS = 20


@dataclass(slots=True)
class Choice:
    """Tokens as "token_id:N", and the log-probabilities of the likeliest tokens at each position."""

    tokens: list[str] = field(default_factory=list)
    logprobs: list[dict[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """What came back of one sending."""

    choices: list[Choice]
    finished: bool = True
    report: dict[str, Any] | None = None
    cached_tokens: int = 0
    refusal: str = ""


class _Elsewhere:
    """Events of the other requests: by them a client decides when to go away, not by a clock."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def happened(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, events: int) -> None:
        for _ in range(events):
            await self._event.wait()


async def send_all(
    server: Server, asks: Sequence[Ask], plan: Iterable[Sending], concurrency: int, *, eah: bool = True
) -> list[Answer]:
    """Answers in the plan's order; `eah=False` leaves out whatever asks for EAH."""
    numbered = list(enumerate(plan))
    answers: dict[int, Answer] = {}
    elsewhere, rest = _Elsewhere(), iter(numbered)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0) as client:

        async def work() -> None:
            for idx, sending in rest:
                answers[idx] = await _send(client, asks[sending.ask], sending, elsewhere, eah)
                elsewhere.happened()

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    return [answers[idx] for idx, _ in numbered]


async def _send(client: openai.AsyncOpenAI, ask: Ask, sending: Sending, elsewhere: _Elsewhere, eah: bool) -> Answer:
    arguments: dict[str, Any] = {"model": NAME, "max_tokens": ask.max_tokens, "n": ask.n, "seed": 0}
    # vLLM takes no n=2 with temperature 0; this is greedy as well.
    arguments["temperature"] = 0 if ask.n == 1 else 1e-4
    body = {"ignore_eos": True, "return_tokens_as_token_ids": True}
    if eah:
        body |= body_fields(ask, sending)
        arguments["model"] += ":eah" if ask.eah is not None and sending.way == "alias" else ""
    if ask.messages:
        create: Any = client.chat.completions.create
        arguments |= {"messages": list(ask.messages), "logprobs": True, "top_logprobs": TOP_LOGPROBS}
    else:
        create = client.completions.create
        arguments |= {"prompt": ask.prompt, "logprobs": TOP_LOGPROBS}
    if sending.stream:
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
    answer = Answer([Choice() for _ in range(ask.n)])
    try:
        request = asyncio.create_task(create(**arguments, extra_body=body))
        if sending.hang_up is not None and not sending.stream:
            await _cancel_after(request, elsewhere.wait(sending.hang_up + 1))
        response = await request
        if sending.stream:
            await _read_stream(response, answer, sending.hang_up, elsewhere)
        else:
            _read(response, answer)
    except openai.BadRequestError as refused:
        answer.refusal, answer.finished = refused.message, False
    except asyncio.CancelledError:
        if not request.cancelled() or sending.hang_up is None:
            raise
        answer.finished = False
    return answer


async def _cancel_after(request: asyncio.Task[Any], wait: Any) -> None:
    waiting = asyncio.create_task(wait)
    await asyncio.wait((request, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    request.cancel()  # nothing if it was answered first


async def _read_stream(stream: Any, answer: Answer, hang_up: int | None, elsewhere: _Elsewhere) -> None:
    if hang_up != 0:
        async for chunk in stream:
            _read(chunk, answer)
            elsewhere.happened()
            if hang_up is not None and sum(len(choice.tokens) for choice in answer.choices) >= hang_up:
                break
        else:
            return
    answer.finished = False
    await stream.close()


def _read(response: Any, answer: Answer) -> None:
    """A whole response, or a chunk of one."""
    if getattr(response, "eah", None) is not None:
        answer.report = response.eah
    details = response.usage.prompt_tokens_details if response.usage else None
    answer.cached_tokens = (details.cached_tokens if details else 0) or answer.cached_tokens
    for part in response.choices:
        choice = answer.choices[part.index]
        if part.logprobs is None:
            continue
        if hasattr(part.logprobs, "content"):
            for token in part.logprobs.content or ():
                choice.tokens.append(token.token)
                choice.logprobs.append({top.token: top.logprob for top in token.top_logprobs})
        else:
            choice.tokens += part.logprobs.tokens
            choice.logprobs += part.logprobs.top_logprobs
