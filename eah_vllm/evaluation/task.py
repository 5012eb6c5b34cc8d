"""What every evaluation has: questions about pictures, and counts per picture made of the answers."""

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
    """The task's files are not what they must be; the message names the file, the place and what was expected."""


@dataclass(frozen=True)
class Question:
    """One question about one picture.

    Attributes:
        id: names it within the task, for ever: answers are kept under it.
        unit: the picture (or scene) it is about: what the bootstrap draws.
        group: the part of the task it belongs to, for example `caption` or `popular`.
        text: what is asked.
        max_tokens: tokens that the answer may have.
    """

    id: str
    unit: str
    group: str
    text: str
    max_tokens: int


@dataclass(frozen=True)
class Answer:
    """What a server said to one question under one setting."""

    text: str
    finish_reason: str | None = None
    tokens: int | None = None
    seconds: float | None = None
    eah: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Metric:
    """`scale * sum(top) / sum(bottom)` over units, from named columns of counts; None where the bottom is 0."""

    name: str
    top: Mapping[str, float]
    bottom: Mapping[str, float]
    scale: float = 100.0
    lower_is_better: bool | None = None
    """None: neither."""


@dataclass(frozen=True)
class Tally:
    """What was counted in the answers of one setting to one part of a task.

    Attributes:
        units: names of the rows.
        columns: names of the columns.
        counts: `[units, columns]`.
        metrics: what is computed of it, the main one first.
        wrong: per unit, whether the answer has a hallucination (captions), or how many answers are wrong (yes/no).
    """

    units: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Counts
    metrics: tuple[Metric, ...]
    wrong: npt.NDArray[np.float64]


def caption_groups(task: Task) -> list[str] | None:
    """What is asked where captions say enough: captions alone, or everything of a task without captions (None)."""
    return ["caption"] if any(question.group == "caption" for question in task.questions()) else None


class Task(ABC):
    """An evaluation. Subclasses read their files in `__init__` and raise `TaskError` there, before asking anything."""

    name: str

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """All of them, in the order in which they are asked."""

    @abstractmethod
    def image(self, unit: str) -> tuple[bytes, str]:
        """The picture of a unit as it is sent: the file's bytes and its media type."""

    @abstractmethod
    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Counts of one setting's answers, by part of the task; the main part first.

        Args:
            answers: by question id. Questions without an answer are left out of the counts.
        """

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What makes two runs of the task the same: numbers, seeds, files; JSON data."""

    def protocol(self) -> Mapping[str, Any]:
        """How answers are counted, where there is a choice that does not change what is asked."""
        return {}

    def captions(self, answers: Mapping[str, Answer]) -> Mapping[str, str]:
        """Captions by unit as they are counted, where the task has captions; for length matching and examples too."""
        return {q.unit: answers[q.id].text for q in self.questions() if q.group == "caption" and q.id in answers}

    def hallucinated_words(self, unit: str, caption: str) -> Sequence[tuple[int, int]]:
        """Places `[start, end)` of a caption's words that name what is not in the picture; none where it has no say."""
        del unit, caption
        return ()
