"""What a run found: one row per setting, each beside the first, with intervals and with the controls' verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.answers import AnswerFile
from eah_vllm.evaluation.setting import CONTROL_HEADS, Setting
from eah_vllm.evaluation.statistics import changes, difference, interval, measure, spread
from eah_vllm.evaluation.task import Answer, Metric, Tally, Task

NO_DIFFERENCE = "no difference seen"


def summarize(task: Task, settings: Sequence[Setting], answers: AnswerFile) -> list[dict[str, Any]]:
    """One row per setting; the first is the one that the others are compared with.

    A row has the metrics of the task's main part by name (percent, `words` apart), `n` units, `mended` and `spoiled`
    captions or answers, `ci95` (95 % interval of each metric), `difference` (against the first row, paired), `spread`
    (over five splits), `length_matched` (captions cut to the shorter one's length), `applied` (share of answers with
    EAH applied, and why not), and `parts`: the same for the other parts of the task. `protocol`, where the task has a
    choice of how to count: the choice, and how many captions it may concern.
    """
    everything = {setting.name: answers.by_setting.get(setting.name, {}) for setting in settings}
    tallies = {name: task.tallies(given) for name, given in everything.items()}
    baseline = settings[0].name
    rows = []
    for setting in settings:
        main, *others = tallies[setting.name]
        row = {"setting": setting.name} | _figures(tallies[baseline][main], tallies[setting.name][main])
        if task.protocol():
            row["protocol"] = {**task.protocol(), **_endings(task, everything[setting.name])}
        row["length_matched"] = _length_matched(task, everything[baseline], everything[setting.name])
        row["applied"] = _applied(everything[setting.name])
        row["parts"] = {part: _figures(tallies[baseline][part], tallies[setting.name][part]) for part in others}
        rows.append(row)
    return rows


def _endings(task: Task, given: Mapping[str, Answer]) -> dict[str, int]:
    """How many captions were cut by the limit of tokens, and of how many the server does not say."""
    reasons = [given[q.id].finish_reason for q in task.questions() if q.group == "caption" and q.id in given]
    return {"cut": reasons.count("length"), "finish_unknown": reasons.count(None)}


def _figures(before: Tally, after: Tally) -> dict[str, Any]:
    values = {metric.name: measure(after, metric) for metric in after.metrics}
    intervals = {metric.name: interval(after, metric) for metric in after.metrics}
    mended, spoiled = changes(before, after)
    return {
        "n": len(after.units),
        **{name: None if value is None else round(value, 4) for name, value in values.items()},
        "mended": mended,
        "spoiled": spoiled,
        "ci95": {name: [round(found.low, 4), round(found.high, 4)] for name, found in intervals.items() if found},
        "difference": {
            metric.name: found for metric in after.metrics if (found := _difference(before, after, metric)) is not None
        },
        "spread": {
            metric.name: [round(part, 4) for part in over_splits]
            for metric in after.metrics
            if (over_splits := spread(after, metric)) is not None
        },
    }


def _difference(before: Tally, after: Tally, metric: Metric) -> dict[str, Any] | None:
    found = difference(before, after, metric)
    if found is None:
        return None
    verdict = NO_DIFFERENCE if found.holds_zero else "lower" if found.value < 0 else "higher"
    if not found.holds_zero and metric.lower_is_better is not None:
        verdict += ", better" if (found.value < 0) == metric.lower_is_better else ", worse"
    return {"value": round(found.value, 4), "ci95": [round(found.low, 4), round(found.high, 4)], "verdict": verdict}


def _length_matched(task: Task, before: Mapping[str, Answer], after: Mapping[str, Answer]) -> dict[str, Any] | None:
    """Figures of the setting and of the first one, each pair of captions cut to as many words as the shorter has."""
    cut: tuple[dict[str, Answer], dict[str, Answer]] = {}, {}
    first_captions, second_captions = task.captions(before), task.captions(after)
    for question in task.questions():
        if question.group == "caption" and question.id in before and question.id in after:
            pair = first_captions[question.unit].split(), second_captions[question.unit].split()
            length = min(map(len, pair))
            for kept, words in zip(cut, pair, strict=True):
                kept[question.id] = Answer(" ".join(words[:length]))
    if not cut[0]:
        return None
    first, second = (next(iter(task.tallies(kept).values())) for kept in cut)
    names = [metric.name for metric in first.metrics]
    return {
        "baseline": {metric.name: _round(measure(first, metric)) for metric in first.metrics},
        **{metric.name: _round(measure(second, metric)) for metric in second.metrics},
        "difference": {name: _difference(first, second, first.metrics[names.index(name)]) for name in names},
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _applied(given: Mapping[str, Answer]) -> dict[str, Any] | None:
    reports = [answer.eah for answer in given.values() if answer.eah is not None]
    if not reports:
        return None
    reasons: dict[str, int] = {}
    for report in reports:
        if report["reason"] is not None:
            reasons[report["reason"]] = reasons.get(report["reason"], 0) + 1
    return {"share": round(sum(report["applied"] for report in reports) / len(reports), 4), "reasons": reasons}


def verdict(rows: Sequence[Mapping[str, Any]], settings: Sequence[Setting], main: str = "chairs") -> str:
    """The report's first sentence: what EAH did to the main figure, and whether a control does as well.

    Args:
        rows: as from `summarize`.
        settings: the same settings.
        main: the metric: `chairs`, lower is better, or one of which more is better.
    """
    by_name = {row["setting"]: row for row in rows}
    eah = [s for s in settings[1:] if s.eah is not None and not s.end_bias]
    chosen = [s for s in eah if (s.eah or {}).get("head", "auto") not in CONTROL_HEADS]
    if not chosen or rows[0].get(main) is None:
        return "No setting with a chosen head was measured."
    sign = 1 if main == "chairs" else -1
    best = min(chosen, key=lambda s: sign * by_name[s.name][main])
    applied = by_name[best.name].get("applied") or {"share": 1.0}
    if applied["share"] == 0:
        return f"EAH ({best.name}) was never applied: {', '.join(applied['reasons'])}."
    controls = [best.control(head).name for head in CONTROL_HEADS]
    controls += [s.name for s in settings if s.end_bias and s.eah is None]
    run = [name for name in controls if name in by_name and by_name[name][main] is not None]
    as_good = [name for name in run if sign * by_name[name][main] <= sign * by_name[best.name][main]]
    change = by_name[best.name]["difference"][main]
    low, high = change["ci95"]
    named = {"chairs": "CHAIRs", "f1": "F1"}.get(main, main)
    told = f"EAH ({best.name}) changes {named} by {change['value']:+.1f} points [{low:+.1f}, {high:+.1f}]"
    if change["verdict"] == NO_DIFFERENCE:
        told = f"No difference seen: {told}"
    if as_good:
        return f"A control does as well: {', '.join(as_good)}. {told}."
    has_captions = main == "chairs"
    missing = "" if len(run) >= len(CONTROL_HEADS) + has_captions else " Not every control was run."
    return f"{told}; no control does as well.{missing}"
