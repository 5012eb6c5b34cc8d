"""Asks every question under every setting, interleaved and several at a time, and waits for a server that is away."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
from tqdm import tqdm

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.task import Answer, Question, Task, caption_groups

Item = TypeVar("Item")
RETRIED = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)
"""Errors of a server that is away, too busy or broken and may answer later. (A time-out is a connection error.)"""
LONGEST_PAUSE = 10.0


class AskError(RuntimeError):
    """The server refuses a question, or stays away; the message says which and why."""


class RefusedError(AskError):
    """The server refuses one request.

    Attributes:
        status: the HTTP status; None where there was none.
    """

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Server:
    """The server that is asked.

    Attributes:
        base_url: address with the API's version, for example `http://127.0.0.1:8000/v1`.
        model: served name of the model.
        api_key: key that the server asks for.
        concurrency: requests in flight at once.
        patience: seconds for which one question is asked again while the server is away.
        timeout: longest time for one answer, in seconds.
        end_token_id: the token that ends a text, for settings with `end_bias`.
    """

    base_url: str
    model: str
    api_key: str = "EMPTY"
    concurrency: int = 8
    patience: float = 120.0
    timeout: float = 600.0
    end_token_id: int | None = None

    def client(self) -> openai.AsyncOpenAI:
        """Make a client that does not try again by itself, since `ask_all` does."""
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=self.api_key, max_retries=0, timeout=self.timeout)


def ask_all(
    server: Server,
    task: Task,
    settings: Sequence[Setting],
    answers: AnswerFile,
    *,
    title: str = "",
    groups: Sequence[str] | None = None,
) -> None:
    """Ask whatever has no answer yet, each question under all settings in turn, so that all meet the same conditions.

    Args:
        server: the server to ask.
        task: the task whose questions are asked.
        settings: the settings to ask under; one with chance in it is asked for once for each draw.
        answers: the answers kept so far; new ones are added.
        title: title of the progress bar.
        groups: ask only these groups of questions.

    Raises:
        AskError: a request is refused (400 and the like), the server stays away, or it ignores the field of a
            method or `verify`.
    """
    kept = answers.by_setting
    settings = list(dict.fromkeys(one for setting in settings for one in setting.asked))
    questions = [question for question in task.questions() if groups is None or question.group in groups]
    captions = caption_groups(task)
    asked = [(q, s) for q in questions for s in settings if s.verify is None or captions is None or q.group in captions]
    open_ = [(q, s) for q, s in asked if q.id not in kept.get(s.name, {})]
    total = len(asked)
    with tqdm(desc=title or task.name, total=total, initial=total - len(open_), unit="answers") as bar:
        asyncio.run(_ask_open(server, task, open_, answers, bar))


async def _ask_open(
    server: Server, task: Task, open_: Iterable[tuple[Question, Setting]], answers: AnswerFile, bar: Any
) -> None:
    async with server.client() as client:

        async def ask(item: tuple[Question, Setting]) -> None:
            question, setting = item
            answers.add(setting.name, question.id, await _ask(client, server, task, question, setting))
            bar.update()

        await with_each(open_, server.concurrency, ask)


async def with_each(items: Iterable[Item], at_once: int, do: Callable[[Item], Awaitable[None]]) -> None:
    """Do something with each item, in order, several at a time; the first failure ends the rest and is raised."""
    todo = iter(items)

    async def work() -> None:
        for item in todo:  # all workers share one iterator, and each takes the next item
            await do(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ask(client: openai.AsyncOpenAI, server: Server, task: Task, question: Question, setting: Setting) -> Answer:
    started = time.monotonic()
    reply = await complete(
        client,
        server,
        task.image(question.unit),
        question.text,
        name=f"question {question.id!r} under {setting.name!r}",
        max_tokens=question.max_tokens,
        model=setting.model or server.model,
        extra_body=setting.extra_body(server.end_token_id),
    )
    return _answer(reply, question, setting, time.monotonic() - started)


async def complete(
    client: openai.AsyncOpenAI, server: Server, picture: tuple[bytes, str], text: str, *, name: str,
    max_tokens: int, model: str, extra_body: Mapping[str, Any],
) -> Any:  # fmt: skip
    """Ask once about a picture, greedily, and wait for a server that is away; return the whole reply.

    Args:
        client: a client that `Server.client` has made.
        server: the server to ask.
        picture: the file's bytes and its media type.
        text: the text of the request.
        name: what the request is called in an error.
        max_tokens: most tokens that the answer may have.
        model: served name of the model.
        extra_body: further fields of the body.

    Raises:
        RefusedError: the server refuses the request.
        AskError: the server stays away for longer than its `patience`.
    """
    messages = messages_about(picture, text)
    started = time.monotonic()
    for attempt in itertools.count():
        try:
            return await client.chat.completions.create(
                model=model,
                messages=messages,  # type: ignore[arg-type]
                max_tokens=max_tokens,
                temperature=0,
                extra_body=extra_body,
            )
        except RETRIED as error:
            pause = min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
            if time.monotonic() - started + pause > server.patience:
                raise AskError(f"{server.base_url} stays away ({error}); run the same command again later") from error
            await asyncio.sleep(pause)
        except openai.APIError as error:
            raise RefusedError(f"{name} is refused: {error}", getattr(error, "status_code", None)) from error
    raise AssertionError  # mypy does not know that counting has no end


def messages_about(picture: tuple[bytes, str], text: str) -> list[dict[str, Any]]:
    """Return the messages of a request about a picture, which are the file's bytes and its media type."""
    image, media_type = picture
    url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    return [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]}
    ]


def _answer(reply: Any, question: Question, setting: Setting, seconds: float) -> Answer:
    if not getattr(reply, "choices", None) or reply.choices[0].message.content is None:
        raise AskError(f"question {question.id!r} under {setting.name!r}: the reply has no text")
    more = reply.model_extra or {}
    for name in (*setting.reports, *(() if setting.verify is None else ("verify",))):
        if more.get(name) is None:
            raise AskError(
                f"the server ignores the field `{name}` (setting {setting.name!r}): it is not eah-vllm, or EAH is "
                "disabled; to ask another served model use model=NAME"
            )
    choice = reply.choices[0]
    tokens = reply.usage.completion_tokens if reply.usage else None
    text = choice.message.content
    others = {name: more[name] for name in setting.methods} or None
    return Answer(text, choice.finish_reason, tokens, round(seconds, 3), more.get("eah"), more.get("verify"), others)
