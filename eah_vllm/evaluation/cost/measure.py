"""Times settings in turns with the first one (A/B/A/B), so that a machine that grows busy slows both.

Each request has a picture that no request had before, so that no cache answers for the model, and is answered at equal
length (`ignore_eos`). A figure is the median over the requests of a batch; a ratio is that figure over the mean of the
same figure in the batches of the first setting before and after it; what is told is the median of the ratios.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from PIL import Image
from tqdm import tqdm

from eah_vllm.evaluation.ask.asking import AskError, Server, messages_about, with_each
from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.task import Task

FILE = "cost.json"
TOKENS = 32
"""Length of each answer."""
REQUESTS = {1: 4, 16: 32}
"""Requests of a batch, by how many are in flight at once."""


@dataclass(frozen=True)
class Batch:
    """The medians over one batch, in seconds: to the first token, and for each further one."""

    first_token: float
    per_token: float


def measure_cost(server: Server, task: Task, settings: Sequence[Setting], rounds: int, out: Path) -> dict[str, Any]:
    """Time every setting that is not verified, and write `cost.json`.

    Args:
        server: the server to ask; nobody else should be asking it.
        task: the task whose pictures are sent.
        settings: the settings, of which the first is what the others are compared with.
        rounds: how often each is timed, at each number of requests in flight.
        out: folder of the run.

    Raises:
        AskError: a request fails.
    """
    first, *others = (one for one in settings if one.verify is None and not one.removal)
    pictures = _pictures(task)
    found = {one.name: {"per_token": {}, "first_token_ms": {}} for one in others}  # type: dict[str, dict[str, Any]]
    noise: dict[str, Any] = {}
    with tqdm(desc="cost", total=(rounds + 1) * len(REQUESTS) * (2 * len(others) + 1), unit="batches") as bar:
        for at_once in REQUESTS:

            def timed(setting: Setting, at_once: int = at_once) -> Batch:
                batch = asyncio.run(_batch(server, task, setting, at_once, pictures))
                bar.update()
                return batch

            for one in (first, *others, *others):  # everything is warm before anything counts
                timed(one)
            ratios: dict[str, list[float]] = {one.name: [] for one in others}
            later: dict[str, list[float]] = {one.name: [] for one in others}
            again = []
            for _ in range(rounds):
                before = timed(first)
                for one in others:
                    seen, after = timed(one), timed(first)
                    ratios[one.name].append(seen.per_token / statistics.fmean((before.per_token, after.per_token)))
                    mean = statistics.fmean((before.first_token, after.first_token))
                    later[one.name].append(1000 * (seen.first_token - mean))
                    again.append(after.per_token / before.per_token)
                    before = after
            for name, by_name in found.items():
                by_name["per_token"][str(at_once)] = _over_rounds(ratios[name])
                by_name["first_token_ms"][str(at_once)] = _over_rounds(later[name])
            noise[str(at_once)] = _over_rounds(again)
    cost = {"first": first.name, "rounds": rounds, "tokens": TOKENS, "settings": found, "first_over_first": noise}
    (out / FILE).write_text(json.dumps(cost, indent=1) + "\n", encoding="utf-8")
    return cost


def kept_cost(out: Path) -> dict[str, Any] | None:
    """Return what was measured in this folder before; None if nothing was."""
    path = out / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


async def _batch(server: Server, task: Task, setting: Setting, at_once: int, pictures: Iterator[Any]) -> Batch:
    text = next((q for q in task.questions() if q.group == "caption"), task.questions()[0]).text
    messages = [messages_about(next(pictures), text) for _ in range(REQUESTS[at_once])]
    body = {**setting.extra_body(server.end_token_id, report=False), "ignore_eos": True}
    times: list[tuple[float, float]] = []
    async with server.client() as client:

        async def ask(one: list[dict[str, Any]]) -> None:
            times.append(await _timed(client, setting.model or server.model, one, body, setting.name))

        await with_each(messages, at_once, ask)
    firsts, each = zip(*times, strict=True)
    return Batch(statistics.median(firsts), statistics.median(each))


async def _timed(
    client: openai.AsyncOpenAI, model: str, messages: Sequence[Any], body: Mapping[str, Any], name: str
) -> tuple[float, float]:
    """Stream one answer; return the seconds to its first token, and for each further one."""
    started = time.perf_counter()
    first = last = None
    tokens = 0
    try:
        stream = await client.chat.completions.create(
            model=model,
            messages=list(messages),
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        )
        async for chunk in stream:
            if chunk.choices:
                last = time.perf_counter()
                first = first or last
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
    except openai.APIError as error:
        raise AskError(f"a timed request under {name!r} failed: {error}") from error
    if first is None or last is None or tokens < 2:
        raise AskError(f"a timed request under {name!r} has {tokens} tokens; its time cannot be divided by them")
    return first - started, (last - first) / (tokens - 1)


def _pictures(task: Task) -> Iterator[tuple[bytes, str]]:
    """Yield the task's pictures without end, each with a pixel that no picture before it had there."""
    units = list(dict.fromkeys(question.unit for question in task.questions()))
    mark = itertools.count(random.randrange(1 << 24))
    for unit in itertools.cycle(units):
        image = Image.open(io.BytesIO(task.image(unit)[0])).convert("RGB")
        image.putpixel((0, 0), tuple((next(mark) % (1 << 24)).to_bytes(3)))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        yield buffer.getvalue(), "image/png"


def _over_rounds(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "values": [round(value, 4) for value in values],
    }
