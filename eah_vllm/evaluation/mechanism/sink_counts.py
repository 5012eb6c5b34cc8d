"""How many vision sinks each head of a served model sees in each picture of a task, and what the model says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from eah_vllm.evaluation.ask.asking import Server, complete, with_each
from eah_vllm.evaluation.ask.inspection import InspectError, inspect, spoken
from eah_vllm.evaluation.task import Question, Task

Asked = Mapping[str, Sequence[float]]
"""`thresholds` and `relative_thresholds` of an inspection."""


@dataclass(frozen=True)
class Seen:
    """What a model did with some pictures.

    Attributes:
        thresholds: absolute vision-sink thresholds by name, the server's own first.
        sinks: `[thresholds, pictures, layers, heads]`.
        captions: greedy captions without EAH, by unit.
        image_tokens: image tokens of every prompt.
        prompt_tokens: S, the number of tokens of every prompt.
    """

    thresholds: Mapping[str, float]
    sinks: npt.NDArray[np.int64]
    captions: Mapping[str, str]
    image_tokens: int
    prompt_tokens: int


def look(server: Server, task: Task, captions: Mapping[str, str], thresholds: Asked) -> Seen:
    """Inspect the caption prompt of each picture; ask for the captions that are not given.

    Args:
        server: the server; it has the inspector.
        task: the task; of its questions the captions are asked.
        captions: captions by unit, where they are known.
        thresholds: thresholds beside the server's own.

    Raises:
        InspectError: the server refuses, is away, has no inspector, or cannot count in a layer.
        AskError: the server refuses a caption, or stays away.
        ValueError: the pictures have different numbers of tokens, so that their sinks cannot be compared.
    """
    questions = [question for question in task.questions() if question.group == "caption"]
    return asyncio.run(_look(server, task, questions, captions, thresholds))


async def _look(
    server: Server, task: Task, questions: Sequence[Question], captions: Mapping[str, str], thresholds: Asked
) -> Seen:
    found: dict[str, Mapping[str, Any]] = {}
    written = dict(captions)
    async with server.client() as client:
        first = questions[0]
        (own,) = (await inspect(client, server, task.image(first.unit), first.text, {}))["thresholds"]
        asked = _with_own(thresholds, own)
        with tqdm(desc="sinks", total=len(questions), unit="pictures") as bar:

            async def see(question: Question) -> None:
                picture = task.image(question.unit)
                found[question.unit] = await inspect(client, server, picture, question.text, asked)
                if question.unit not in written:
                    reply = await complete(
                        client, server, picture, question.text, name=f"caption {question.id!r}",
                        max_tokens=question.max_tokens, model=server.model, extra_body={},
                    )  # fmt: skip
                    written[question.unit] = reply.choices[0].message.content
                bar.update()

            await with_each(questions, server.concurrency, see)
    units = [question.unit for question in questions]
    return _seen([found[unit] for unit in units], {unit: written[unit] for unit in units}, own)


def _with_own(thresholds: Asked, own: Mapping[str, float]) -> Asked:
    asked = {f"{kind}s": [*thresholds.get(f"{kind}s", ())] for kind in ("threshold", "relative_threshold")}
    for kind, value in own.items():
        if value not in asked[f"{kind}s"]:
            asked[f"{kind}s"] += [value]
    return asked


def _seen(answers: Sequence[Mapping[str, Any]], captions: Mapping[str, str], own: Mapping[str, float]) -> Seen:
    lengths = {(answer["image_tokens"], answer["prompt_tokens"]) for answer in answers}
    if len(lengths) > 1:
        raise ValueError(f"the pictures have different numbers of tokens: {sorted(lengths)}")
    ((image_tokens, prompt_tokens),) = lengths
    for layer in answers[0]["layers"]:
        if "reason" in layer:
            raise InspectError(f"layer {layer['layer']} cannot be counted in: {layer['reason']}")
    # `[pictures, layers, heads, thresholds]`, as answered.
    counts = np.array(
        [[[head["sinks"] for head in layer["heads"]] for layer in answer["layers"]] for answer in answers]
    )
    said = answers[0]["thresholds"]
    order = sorted(range(len(said)), key=lambda place: said[place] != own)
    absolute = {
        spoken(said[place]): value / (prompt_tokens if kind == "relative_threshold" else 1)
        for place in order
        for kind, value in said[place].items()
    }
    return Seen(absolute, counts.transpose(3, 0, 1, 2)[order], captions, image_tokens, prompt_tokens)
