"""Example pictures of the report, drawn by a fixed rule, so that nobody can pick them."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from eah_vllm.evaluation.task import Answer, Question, Task

SHOWN = {"mended": 5, "spoiled": 2, "other": 3}
TITLES = {"mended": "mended", "spoiled": "spoiled", "other": "neither"}
LARGEST_SIDE = 480
_SEED = 0

Segments = Sequence[tuple[str, bool]]
"""Parts of a text, and whether each is marked."""


@dataclass(frozen=True)
class Said:
    """Two answers to one question, which is empty for captions. None means that right or wrong does not apply."""

    question: str
    before: Segments
    after: Segments
    before_right: bool | None = None
    after_right: bool | None = None


@dataclass(frozen=True)
class Example:
    """A picture, whether it was mended or spoiled, and the answers about it."""

    unit: str
    kind: str
    image: str
    said: Sequence[Said]


@dataclass(frozen=True)
class Examples:
    """The examples, and the number of pictures that they were drawn from."""

    shown: Sequence[Example]
    counts: Mapping[str, int]


def draw_examples(task: Task, before: Mapping[str, Answer], after: Mapping[str, Answer]) -> Examples:
    """Draw pictures by a fixed seed from those mended, spoiled and neither, `SHOWN` of each, ten in all.

    A kind that has too few is filled up from `other`, and that one from the others. Mended and spoiled mean fewer or
    more wrong answers to the task's main part.
    """
    questions = [q for q in task.questions() if q.id in before and q.id in after]
    main, tally = next(iter(task.tallies({q.id: before[q.id] for q in questions}).items()))
    wrong = dict(zip(tally.units, tally.wrong, strict=True))
    tally = task.tallies({q.id: after[q.id] for q in questions})[main]
    kinds: dict[str, list[str]] = {kind: [] for kind in SHOWN}
    for unit, later in zip(tally.units, tally.wrong, strict=True):
        kinds["mended" if later < wrong[unit] else "spoiled" if later > wrong[unit] else "other"].append(unit)
    counts = {kind: len(units) for kind, units in kinds.items()}
    drawn = []
    spare = 0
    for kind, units in kinds.items():
        random.Random(_SEED).shuffle(units)
        wanted = SHOWN[kind] + spare
        spare = wanted - len(units[:wanted])
        drawn += [(kind, unit) for unit in units[:wanted]]
    by_unit: dict[str, list[Question]] = {unit: [] for _, unit in drawn}
    for question in questions:
        if question.unit in by_unit:
            by_unit[question.unit].append(question)
    return Examples([_example(task, kind, unit, by_unit[unit], before, after) for kind, unit in drawn], counts)


def _example(
    task: Task, kind: str, unit: str, questions: Sequence[Question], before: Mapping[str, Answer],
    after: Mapping[str, Answer],
) -> Example:  # fmt: skip
    captions = [q for q in questions if q.group == "caption"]
    if captions:
        pairs = [[task.captions({q.id: given[q.id]})[unit].strip() for given in (before, after)] for q in captions]
        said = [Said("", _marked(task, unit, first), _marked(task, unit, second)) for first, second in pairs]
    else:
        # Of yes/no questions, those whose answer changed are shown, or else one that stands for all.
        changed = [q for q in questions if before[q.id].text.strip() != after[q.id].text.strip()]
        said = [
            Said(
                q.text,
                [(before[q.id].text.strip(), False)],
                [(after[q.id].text.strip(), False)],
                _right(task, q, before[q.id]),
                _right(task, q, after[q.id]),
            )
            for q in (changed or questions[:1])
        ]
    return Example(unit, TITLES[kind], _data_url(*task.image(unit)), said)


def _right(task: Task, question: Question, answer: Answer) -> bool:
    return not any(tally.wrong.sum() for tally in task.tallies({question.id: answer}).values())


def _marked(task: Task, unit: str, text: str) -> Segments:
    parts: list[tuple[str, bool]] = []
    at = 0
    for start, end in sorted(task.hallucinated_words(unit, text)):
        parts += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [part for part in [*parts, (text[at:], False)] if part[0]]


def _data_url(image: bytes, media_type: str) -> str:
    """Return the picture itself, or a smaller copy of a large one, because the page holds ten."""
    with Image.open(io.BytesIO(image)) as picture:
        if max(picture.size) > LARGEST_SIDE:
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, format="JPEG", quality=85)
            image, media_type = buffer.getvalue(), "image/jpeg"
    return f"data:{media_type};base64,{base64.b64encode(image).decode()}"
