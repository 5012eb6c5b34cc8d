"""A judge's questions, which show both captions of a picture in both orders, and what its scores say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eah_vllm.evaluation.count.statistics import difference, interval
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE
from eah_vllm.evaluation.task import Answer, Metric, Question, Tally, Task, TaskError

PROMPT = """\
Below are two descriptions of this image, written by two assistants. Score each on a scale of 0 to 10 for two things.
Correctness: does it say only what the image shows? Objects, counts, colours and positions that are not so lower it.
Detail: how much of what the image shows does it say? What is not so does not count as detail.
Do not let the order of the descriptions or their length as such influence you.

[Description 1]
{first}
[End of description 1]

[Description 2]
{second}
[End of description 2]

Begin your answer with exactly these two lines, two numbers on each: the score of description 1, then of description 2.
Correctness: <score> <score>
Detail: <score> <score>"""
SCORES = ("correctness", "detail")
ORDERS = ("ab", "ba")
COLUMNS = ("pictures", *SCORES)
METRICS = tuple(Metric(name, {name: 1}, {"pictures": 1}, scale=1.0, lower_is_better=False) for name in SCORES)


def read_scores(text: str) -> dict[str, tuple[float, float]] | None:
    """Read the scores of both descriptions by name; None unless each name has one line of two numbers from 0 to 10."""
    found = {}
    for name in SCORES:
        number = r"(\d+(?:\.\d+)?)"
        lines = re.findall(rf"^[ \t]*{name}:[ \t]*{number}[ \t,]+{number}[ \t]*$", text, re.IGNORECASE | re.MULTILINE)
        if len(lines) != 1:
            return None
        found[name] = (float(lines[0][0]), float(lines[0][1]))
    return found if all(0 <= score <= 10 for pair in found.values() for score in pair) else None


class JudgeTask(Task):
    """Two captions of each picture, and which is better.

    Args:
        pictures: function that gives a picture's file and media type by its name.
        a: captions of the first setting by picture.
        b: captions of the second setting by picture.
        identity: what else makes two runs the same.
        max_tokens: most tokens of an answer.

    Raises:
        TaskError: no picture has both captions.
    """

    name = "judge"

    def __init__(
        self,
        pictures: Callable[[str], tuple[bytes, str]],
        a: Mapping[str, str],
        b: Mapping[str, str],
        identity: Mapping[str, Any],
        max_tokens: int = 300,
    ) -> None:
        self.units = [unit for unit in a if unit in b]
        if not self.units:
            raise TaskError("judge: no picture has captions of both settings")
        self._pictures, self._identity = pictures, {"task": self.name, **identity, "max_tokens": max_tokens}
        self._questions = []
        for unit in self.units:
            for order, (first, second) in zip(ORDERS, ((a[unit], b[unit]), (b[unit], a[unit])), strict=True):
                text = PROMPT.format(first=first, second=second)
                self._questions.append(Question(f"{unit}/{order}", unit, "judge", text, max_tokens))

    def questions(self) -> Sequence[Question]:
        """Return the questions, picture after picture, each in both orders."""
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the picture as it was captioned."""
        return self._pictures(unit)

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Sum the scores of pictures judged in both orders, by setting (`a`, `b`) and by place (`first`, `second`)."""
        rows: dict[str, list[list[float]]] = {name: [] for name in ("a", "b", "first", "second")}
        units = []
        for unit in self.units:
            read = [read_scores(answers[id_].text) for order in ORDERS if (id_ := f"{unit}/{order}") in answers]
            scores = np.array([[found[name] for name in SCORES] for found in read if found is not None])
            if len(scores) < len(ORDERS):
                continue
            units.append(unit)  # scores are [order, name, place]; in the order "ba" the first place is b's
            for side, places in {"a": (0, 1), "b": (1, 0), "first": (0, 0), "second": (1, 1)}.items():
                of_side = [scores[order, :, place] for order, place in enumerate(places)]
                rows[side].append([1.0, *np.mean(of_side, axis=0)])
        counted = {name: np.array(row).reshape(len(units), len(COLUMNS)) for name, row in rows.items()}
        none_wrong = np.zeros(len(units))
        return {name: Tally(tuple(units), COLUMNS, row, METRICS, none_wrong) for name, row in counted.items()}

    def unparsable(self, answers: Mapping[str, Answer]) -> list[str]:
        """Return the ids of the questions whose answer has no scores."""
        ids = [question.id for question in self._questions]
        return [id_ for id_ in ids if id_ in answers and read_scores(answers[id_].text) is None]

    def identity(self) -> Mapping[str, Any]:
        """Return what makes two runs the same: whose captions are judged."""
        return self._identity


def judged(task: JudgeTask, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return the averages of both settings with paired intervals, unreadable answers, and the effect of the place."""
    tallies = task.tallies(answers)
    unparsable = task.unparsable(answers)
    return {
        "pictures": len(task.units),
        "judged": len(tallies["a"].units),
        "answers": len(answers),
        "unparsable": len(unparsable),
        "unparsable_answers": unparsable,
        **{metric.name: _beside(tallies, "a", "b", metric) for metric in METRICS},
        "position": {metric.name: _beside(tallies, "first", "second", metric) for metric in METRICS},
    }


def _beside(tallies: Mapping[str, Tally], before: str, after: str, metric: Metric) -> dict[str, Any] | None:
    """Return both averages, and the second minus the first; None without a judged picture."""
    found = difference(tallies[before], tallies[after], metric)
    if found is None:
        return None
    told: dict[str, Any] = {}
    for name in (before, after):
        mean = interval(tallies[name], metric)
        if mean is not None:
            told[name] = {"mean": round(mean.value, 4), "ci95": [round(mean.low, 4), round(mean.high, 4)]}
    verdict = NO_DIFFERENCE if found.holds_zero else f"{after if found.value > 0 else before} is higher"
    told["difference"] = {
        "value": round(found.value, 4),
        "ci95": [round(found.low, 4), round(found.high, 4)],
        "verdict": verdict,
    }
    return told
