"""What every evaluation has: questions about pictures, and counts per picture made from the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]
"""`[units, columns]`: one row per picture, one column per thing counted; metrics are ratios of sums over rows."""


class TaskError(ValueError):
    """A file of the task is not as it must be; the message names the file, the place and what was expected."""


@dataclass(frozen=True)
class Question:
    """One question about one picture.

    Attributes:
        id: name within the task, which must never change, because answers are kept under it.
        unit: the picture (or scene) that it is about; the bootstrap draws units.
        group: the part of the task that it belongs to, for example `caption` or `popular`.
        text: the text of the question.
        max_tokens: most tokens that the answer may have.
    """

    id: str
    unit: str
    group: str
    text: str
    max_tokens: int


@dataclass(frozen=True)
class Answer:
    """What a server answered to one question under one setting: the text, and the reports of what was done to it."""

    text: str
    finish_reason: str | None = None
    tokens: int | None = None
    seconds: float | None = None
    eah: Mapping[str, Any] | None = None
    verify: Mapping[str, Any] | None = None
    methods: Mapping[str, Any] | None = None
    """Reports of other methods than EAH, by name."""


@dataclass(frozen=True)
class Metric:
    """A metric `scale * sum(top) / sum(bottom)` over units, of named columns of counts; None where the bottom is 0."""

    name: str
    top: Mapping[str, float]
    bottom: Mapping[str, float]
    scale: float = 100.0
    lower_is_better: bool | None = None
    """Whether lower or higher is better; None means neither."""


@dataclass(frozen=True)
class Tally:
    """Counts of the answers of one setting to one part of a task.

    Attributes:
        units: names of the rows.
        columns: names of the columns.
        counts: `[units, columns]`.
        metrics: the metrics that are computed from the counts, the main one first.
        wrong: for each unit, whether its caption has a hallucination, or how many of its yes/no answers are wrong.
    """

    units: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Counts
    metrics: tuple[Metric, ...]
    wrong: npt.NDArray[np.float64]


def caption_groups(task: Task) -> list[str] | None:
    """Return the groups to ask where captions are enough: captions alone, or all (None) if the task has no captions."""
    return ["caption"] if any(question.group == "caption" for question in task.questions()) else None


class Task(ABC):
    """An evaluation. Subclasses read their files in `__init__` and raise `TaskError` there, before asking anything."""

    name: str

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """Return all questions, in the order in which they are asked."""

    @abstractmethod
    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the picture of a unit as it is sent: the file's bytes and its media type."""

    @abstractmethod
    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Count one setting's answers, by part of the task, the main part first.

        Args:
            answers: answers by question id. Questions without an answer are left out of the counts.
        """

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Return what makes two runs of the task the same, as JSON data: numbers, seeds, files."""

    def protocol(self) -> Mapping[str, Any]:
        """Return how answers are counted, where there is a choice that does not change the questions."""
        return {}

    def captions(self, answers: Mapping[str, Answer]) -> Mapping[str, str]:
        """Return captions by unit as they are counted, if the task has any, also for length matching and examples."""
        return {q.unit: answers[q.id].text for q in self.questions() if q.group == "caption" and q.id in answers}

    def named_words(self, unit: str, caption: str) -> Sequence[tuple[int, int, bool]]:
        """Return the places `[start, end)` of a caption's words that name an object, and whether the picture has it.

        A task whose scorer knows no such places returns none.
        """
        del unit, caption
        return ()

    def hallucinated_words(self, unit: str, caption: str) -> Sequence[tuple[int, int]]:
        """Return the places `[start, end)` of a caption's words that name what is not in the picture, if known."""
        return [(start, end) for start, end, there in self.named_words(unit, caption) if not there]
