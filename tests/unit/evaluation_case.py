"""A task small enough to be read: pictures of a cat and a dog, captions of words, answers that are there already."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server
from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.count.chair_counts import ReadCaption, tally_captions
from eah_vllm.evaluation.count.yes_no import tally_yes_no
from eah_vllm.evaluation.task import Answer, Question, Tally, Task

PRESENT = frozenset({"cat", "dog"})
NOUN = re.compile(r"\b(cat|dog|car)\b")
RIGHT, WRONG, SILENT = "a cat and a dog", "a cat and a dog and a car", "a cat"
AWAY = Server("http://127.0.0.1:9/v1", "nobody", patience=0.0, timeout=1.0)
"""Nothing listens there: a question that has no stored answer raises `AskError`."""


class WordTask(Task):
    """`number` pictures, each with a caption and two yes/no questions, or with the questions alone."""

    name = "words"

    def __init__(self, number: int, captions: bool = True) -> None:
        self._number = number
        self._questions = []
        for unit in (f"u{index}" for index in range(number)):
            if captions:
                self._questions.append(Question(f"{unit}/caption", unit, "caption", "Describe.", 9))
            self._questions.append(Question(f"{unit}/random/yes", unit, "random", "Is there a cat?", 3))
            self._questions.append(Question(f"{unit}/random/no", unit, "random", "Is there a car?", 3))
        self._captions = captions

    def questions(self) -> Sequence[Question]:
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (int(unit[1:]) % 256, 90, 120)).save(buffer, format="PNG")
        return buffer.getvalue(), "image/png"

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        read = {
            unit: ReadCaption(NOUN.findall(text), PRESENT, len(text.split()))
            for unit, text in self.captions(answers).items()
        }
        said = [
            (q.unit, q.id.endswith("yes"), answers[q.id].text)
            for q in self._questions
            if q.group == "random" and q.id in answers
        ]
        found = {"yes_no": tally_yes_no(said), "random": tally_yes_no(said)}
        return {"caption": tally_captions(read), **found} if self._captions else found

    def identity(self) -> Mapping[str, Any]:
        return {"task": self.name, "n": self._number}

    def named_words(self, unit: str, caption: str) -> Sequence[tuple[int, int, bool]]:
        return [(*match.span(), match[0] in PRESENT) for match in NOUN.finditer(caption)]


def store(
    answers: AnswerFile,
    task: Task,
    setting: Setting,
    say: Callable[[Question], str],
    units: Sequence[str] | None = None,
) -> None:
    """Answers of one setting, as a run would have kept them; every draw of a random head says the same."""
    report = {"applied": True, "reason": None, "layers": []} if setting.eah is not None else None
    for question in task.questions():
        if units is None or question.unit in units:
            for asked in setting.asked:
                answers.add(asked.name, question.id, Answer(say(question), "stop", 3, 0.1, report))


def saying(caption: Callable[[int], str], says_yes_to_car: Callable[[int], bool] = lambda _: False) -> Any:
    """What is said of each picture, by its number."""

    def say(question: Question) -> str:
        number = int(question.unit[1:])
        if question.group == "caption":
            return caption(number)
        return "Yes" if question.id.endswith("yes") or says_yes_to_car(number) else "No"

    return say


def answer_file(folder: Path, task: Task, **run: Any) -> AnswerFile:
    return AnswerFile(folder, {**task.identity(), **run})
