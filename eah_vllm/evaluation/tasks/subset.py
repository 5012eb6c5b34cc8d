"""A task restricted to some of its pictures."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.task import Answer, Question, Tally, Task


class Subset(Task):
    """A task's questions about some of its units, in the task's order; all else is as in the task."""

    def __init__(self, task: Task, units: Iterable[str]) -> None:
        kept = set(units)
        self.name = task.name
        self._task = task
        self._questions = [question for question in task.questions() if question.unit in kept]
        self._ids = {question.id for question in self._questions}

    def questions(self) -> Sequence[Question]:
        """Return the task's questions about the units."""
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the task's picture of a unit."""
        return self._task.image(unit)

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Return the task's counts of the answers about the units."""
        return self._task.tallies({id_: answer for id_, answer in answers.items() if id_ in self._ids})

    def captions(self, answers: Mapping[str, Answer]) -> Mapping[str, str]:
        """Return the task's captions of the units."""
        return self._task.captions({id_: answer for id_, answer in answers.items() if id_ in self._ids})

    def protocol(self) -> Mapping[str, Any]:
        """Return what the task returns."""
        return self._task.protocol()

    def identity(self) -> Mapping[str, Any]:
        """Return the whole task's identity, because answers are kept for the whole task."""
        return self._task.identity()

    def named_words(self, unit: str, caption: str) -> Sequence[tuple[int, int, bool]]:
        """Return what the task returns."""
        return self._task.named_words(unit, caption)

    def hallucinated_words(self, unit: str, caption: str) -> Sequence[tuple[int, int]]:
        """Return what the task returns."""
        return self._task.hallucinated_words(unit, caption)


def deal(task: Task, seed: int) -> tuple[list[str], list[str]]:
    """Deal the task's units into two halves, shuffled by a seed."""
    units = list(dict.fromkeys(question.unit for question in task.questions()))
    random.Random(seed).shuffle(units)
    middle = (len(units) + 1) // 2
    return units[:middle], units[middle:]
