"""A search over a method's options that drops hopeless cells early and chooses on one half of the pictures.

The rule: every cell and EAH off are asked about the same pictures, first a quarter of the choosing half, then half of
it, then all. After each part a cell is dropped if it changed no answer; if even the optimistic end of its paired 95 %
interval against off is worse than the pessimistic end of the best cell's (off itself counts, with 0); or if even the
optimistic end of its change of recall is a loss of more than `max_recall_loss` points. Of the cells that remain, the
one with the best main figure is chosen, if it is better than off and loses no more recall than that. A cell may be
dropped by bad luck (the intervals are not corrected for the number of looks); what it can not do is be reported: the
other half of the pictures, which took no part in choosing, decides what is said of the chosen one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server, ask_all
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import OFF, Setting, SettingError, make_setting
from eah_vllm.evaluation.count.statistics import Interval, difference, mean_of
from eah_vllm.evaluation.task import Answer, Metric, Tally, Task, caption_groups
from eah_vllm.evaluation.tasks.subset import Subset
from eah_vllm.options import EAHOptions, OptionError, parse_options

PARTS = (0.25, 0.5, 1.0)
"""Shares of the choosing half after which cells may be dropped."""


@dataclass(frozen=True)
class Place:
    """A cell of the grid: its setting, and its place in the heat map."""

    setting: Setting
    row: str | int
    column: str


@dataclass
class Measured:
    """What is known about a cell. Differences are paired, cell minus off; None where the task has no such metric."""

    place: Place
    units: int = 0
    main: Interval | None = None
    recall: Interval | None = None
    changed: int = 0
    dropped: str | None = None
    """The reason why it was given up; None where it was not."""


def grid(
    layers: Sequence[int], relative_thresholds: Sequence[float], thresholds: Sequence[float],
    heads: Sequence[str | int],
) -> list[Place]:  # fmt: skip
    """Return the cells: every layer with every threshold under head rules, and with every fixed head.

    A fixed head is broadcast whatever the threshold is, so it has one cell per layer.

    Raises:
        SettingError: EAH's options do not allow a value, or there is no cell at all.
    """
    columns: list[tuple[str, dict[str, Any]]] = []
    for rule in (head for head in heads if isinstance(head, str)):
        named = "" if rule == "auto" else f" {rule}"
        extra = {} if rule == "auto" else {"head": rule}
        columns += [(f"{value:g}/S{named}", {"relative_threshold": value, **extra}) for value in relative_thresholds]
        columns += [(f"{value:g}{named}", {"threshold": value, **extra}) for value in thresholds]
    columns += [(f"head {head}", {"head": head}) for head in heads if isinstance(head, int)]
    places = []
    for layer in dict.fromkeys(layers):
        for column, options in columns:
            try:
                parse_options({"layer": layer, **options}, "", EAHOptions)
            except OptionError as error:
                raise SettingError(str(error)) from None
            places.append(Place(make_setting({"layer": layer, **options}), layer, column))
    if not places:
        raise SettingError("the grid is empty: give layers, and thresholds or heads")
    return list({place.setting: place for place in places}.values())


def grid_of(method: str, tried: Mapping[str, Sequence[str]]) -> list[Place]:
    """Return the cells of any method: its setting with every combination of the values tried.

    Args:
        method: the setting that the values are added to, for example a method's name.
        tried: values of options as they are written on a command line; the first option has the rows.

    Raises:
        SettingError: the method does not allow a value, or there is no cell at all.
    """
    if not tried:
        raise SettingError("the grid is empty: give options to try")
    (first, rows), *rest = tried.items()
    places = []
    for row, *columns in product(rows, *(values for _, values in rest)):
        options = [f"{name}={value}" for (name, _), value in zip(rest, columns, strict=True)]
        setting = parse_setting(",".join([method, f"{first}={row}", *options]))
        places.append(Place(setting, f"{first} {row}", ", ".join(options).replace("=", " ")))
    return list({place.setting: place for place in places}.values())


def objective(tally: Tally) -> Metric:
    """Return the metric that a sweep improves: CHAIRs, else F1, else the first of which lower or higher is better."""
    by_name = {metric.name: metric for metric in tally.metrics}
    return by_name.get("chairs") or by_name.get("f1") or next(m for m in tally.metrics if m.lower_is_better is not None)


def search(
    server: Server, task: Task, places: Sequence[Place], units: Sequence[str], answers: AnswerFile,
    max_recall_loss: float,
) -> list[Measured]:  # fmt: skip
    """Ask and drop cells, part after part, by the rule at the top of this file. No question is asked twice.

    Args:
        server: the server to ask.
        task: the task whose questions are asked.
        places: the cells of the grid.
        units: the choosing half of the pictures, shuffled.
        answers: the kept answers, also of an earlier run; new ones are added.
        max_recall_loss: points of recall that a cell may lose.
    """
    off = make_setting(None)
    cells = [Measured(place) for place in places]
    for number, share in enumerate(PARTS, 1):
        part = Subset(task, units[: math.ceil(share * len(units))])
        alive = [cell for cell in cells if cell.dropped is None]
        settings = [off, *(cell.place.setting for cell in alive)]
        title = f"choosing, part {number} of {len(PARTS)}, {len(alive)} cells"
        ask_all(server, part, settings, answers, title=title, groups=caption_groups(task))
        for cell in alive:
            draws = [answers.by_setting[one.name] for one in cell.place.setting.asked]
            measure_cell(cell, part, answers.by_setting.get(OFF, {}), draws)
        drop_hopeless(cells, _sign(part, answers), max_recall_loss)
    return cells


def measure_cell(
    cell: Measured, task: Task, before: Mapping[str, Answer], draws: Sequence[Mapping[str, Answer]]
) -> None:
    """Compare a cell with off over a task's pictures; `draws` has one element, or one per draw of a random head."""
    first, *drawn = (next(iter(task.tallies(answers).values())) for answers in (before, *draws))
    second = mean_of(drawn)
    cell.units = len(second.units)
    cell.main = difference(first, second, objective(first))
    recall = next((metric for metric in first.metrics if metric.name == "recall"), None)
    cell.recall = difference(first, second, recall) if recall else None
    asked = [(q.id, after) for after in draws for q in task.questions() if q.id in before and q.id in after]
    cell.changed = sum(before[id_].text != after[id_].text for id_, after in asked)


def drop_hopeless(cells: Sequence[Measured], sign: int, max_recall_loss: float) -> None:
    """Mark cells that the rule gives up.

    Args:
        cells: the cells of the grid.
        sign: 1 where less of the main figure is better, -1 where more is.
        max_recall_loss: points of recall that a cell may lose.
    """
    alive = [cell for cell in cells if cell.dropped is None and cell.main is not None]
    worst_of_best = min([0.0, *(_cost(cell, sign)[2] for cell in alive if _loses(cell) <= max_recall_loss)])
    for cell in alive:
        if cell.changed == 0:
            cell.dropped = "changes no answer"
        elif _cost(cell, sign)[1] > worst_of_best:
            cell.dropped = "worse than the best"
        elif cell.recall is not None and -cell.recall.high > max_recall_loss:
            cell.dropped = "loses recall"


def choose(cells: Sequence[Measured], sign: int, max_recall_loss: float) -> Measured | None:
    """Return the best cell that was not dropped; None if none is better than off within the loss of recall."""
    fit = [cell for cell in cells if cell.dropped is None and cell.main and _loses(cell) <= max_recall_loss]
    better = [cell for cell in fit if _cost(cell, sign)[0] < 0]
    return min(better, key=lambda cell: (_cost(cell, sign)[0], _loses(cell)), default=None)


def _sign(task: Task, answers: AnswerFile) -> int:
    tally = next(iter(task.tallies(answers.by_setting.get(OFF, {})).values()))
    return 1 if objective(tally).lower_is_better else -1


def _cost(cell: Measured, sign: int) -> tuple[float, float, float]:
    """Return value, optimistic and pessimistic end of the change, turned so that less is better."""
    assert cell.main is not None
    low, high = sorted((sign * cell.main.low, sign * cell.main.high))
    return sign * cell.main.value, low, high


def _loses(cell: Measured) -> float:
    return 0.0 if cell.recall is None else -cell.recall.value
