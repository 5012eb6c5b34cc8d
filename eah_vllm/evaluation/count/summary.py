"""The summary of a run: one row per setting, each compared with the first, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.controls import curve_of
from eah_vllm.evaluation.ask.methods import EAH
from eah_vllm.evaluation.ask.setting import CONTROL_HEADS, Setting
from eah_vllm.evaluation.count.sooner import against_sooner
from eah_vllm.evaluation.count.statistics import changes, difference, interval, mean_of, measure, spread
from eah_vllm.evaluation.task import Answer, Metric, Tally, Task

NO_DIFFERENCE = "no difference seen"


def summarize(task: Task, settings: Sequence[Setting], answers: AnswerFile) -> list[dict[str, Any]]:
    """Return one row per setting; the others are compared with the first.

    A row has the metrics of the task's main part by name (percent, `words` apart), `n` units, `mended` and `spoiled`
    captions or answers, `ci95` (95 % interval of each metric), `difference` (against the first row, paired), `spread`
    (over five splits), `length_matched` (captions cut to the shorter one's length), `applied` (share of answers with
    the methods applied, why not, and the heads used), and `parts`: the same for the other parts of the task.
    `protocol`, where the task has a choice of how to count: the choice, and how many captions it may concern.

    The row of a setting that is drawn several times has the means over draws, and `draws`: how many there are, and
    each metric's smallest and largest value and standard deviation over them. A setting that lets EAH choose has
    `against`: its paired differences from the rows of its controls and of the fixed heads; one with other methods has
    there its difference from its random twin, whose row `twin` names. Where the curve of captions that end sooner was
    asked for, every row but those of its points has `against_sooner`.
    """
    everything = {setting.name: [answers.by_setting.get(one.name, {}) for one in setting.asked] for setting in settings}
    tallies = {name: [task.tallies(given) for given in draws] for name, draws in everything.items()}
    baseline = settings[0].name
    before = {part: mean_of([one[part] for one in tallies[baseline]]) for part in tallies[baseline][0]}
    points = curve_of(settings)
    curve = [mean_of([one["caption"] for one in tallies[point.name]]) for point in points]
    rows = []
    for setting in settings:
        by_part = {part: [one[part] for one in tallies[setting.name]] for part in before}
        main, *rest = by_part
        row = {"setting": setting.name} | _figures(before[main], by_part[main])
        if task.protocol():
            row["protocol"] = {**task.protocol(), **_endings(task, everything[setting.name])}
        row["length_matched"] = _length_matched(task, everything[baseline][0], everything[setting.name])
        row["applied"] = _applied([answer for given in everything[setting.name] for answer in given.values()])
        row["parts"] = {part: _figures(before[part], by_part[part]) for part in rest}
        after = mean_of(by_part[main])
        twin = setting.twin
        row["twin"] = twin.name if twin is not None and twin in settings else None
        if setting.lets_eah_choose or setting.methods:
            others = rivals_of(setting, settings) + (fixed_heads_of(setting, settings) if not setting.methods else [])
            rivals = {name: mean_of([one[main] for one in tallies[name]]) for name in others}
            row["against"] = {name: _differences(rival, after) for name, rival in rivals.items()}
        if curve and setting not in points:
            row["against_sooner"] = against_sooner(after, curve)
        rows.append(row)
    return rows


def _endings(task: Task, draws: Sequence[Mapping[str, Answer]]) -> dict[str, int]:
    """Count the captions, of all draws, that the limit of tokens has cut, and those where the server does not say."""
    captions = [question.id for question in task.questions() if question.group == "caption"]
    reasons = [given[idx].finish_reason for given in draws for idx in captions if idx in given]
    return {"cut": reasons.count("length"), "finish_unknown": reasons.count(None)}


def rivals_of(setting: Setting, settings: Sequence[Setting]) -> list[str]:
    """Return the names of a setting's controls that were run: chance, other rules for the head, sooner ends."""
    controls: list[Setting | None]
    controls = [setting.twin] if setting.methods else [setting.control(head) for head in CONTROL_HEADS]
    return [s.name for s in settings if s in controls or (s.end_bias and s.is_plain)]


def fixed_heads_of(setting: Setting, settings: Sequence[Setting]) -> list[str]:
    """Return the names of the settings that were run with one fixed head in place of a setting's choice."""
    return [s.name for s in settings if s.fixed_head is not None and s == setting.control(s.fixed_head)]


def _figures(before: Tally, draws: Sequence[Tally]) -> dict[str, Any]:
    after = mean_of(draws)
    values = {metric.name: measure(after, metric) for metric in after.metrics}
    intervals = {metric.name: interval(after, metric) for metric in after.metrics}
    mended, spoiled = zip(*(changes(before, draw) for draw in draws), strict=True)
    return {
        "n": len(after.units),
        **{name: _round(value) for name, value in values.items()},
        "mended": mended[0] if len(draws) == 1 else round(sum(mended) / len(draws), 1),
        "spoiled": spoiled[0] if len(draws) == 1 else round(sum(spoiled) / len(draws), 1),
        "ci95": {name: [round(found.low, 4), round(found.high, 4)] for name, found in intervals.items() if found},
        "difference": _differences(before, after),
        "spread": {
            metric.name: [round(part, 4) for part in over_splits]
            for metric in after.metrics
            if (over_splits := spread(after, metric)) is not None
        },
        **({"draws": _over_draws(draws)} if len(draws) > 1 else {}),
    }


def _over_draws(draws: Sequence[Tally]) -> dict[str, Any]:
    found: dict[str, Any] = {"number": len(draws)}
    for metric in draws[0].metrics:
        values = [value for draw in draws if (value := measure(draw, metric)) is not None]
        if len(values) == len(draws):
            found[metric.name] = {
                "min": _round(min(values)),
                "max": _round(max(values)),
                "deviation": _round(stdev(values)),
                "values": [_round(value) for value in values],
            }
    return found


def _differences(before: Tally, after: Tally) -> dict[str, Any]:
    found = {metric.name: _difference(before, after, metric) for metric in after.metrics}
    return {name: one for name, one in found.items() if one is not None}


def _difference(before: Tally, after: Tally, metric: Metric) -> dict[str, Any] | None:
    found = difference(before, after, metric)
    if found is None:
        return None
    verdict = NO_DIFFERENCE if found.holds_zero else "lower" if found.value < 0 else "higher"
    if not found.holds_zero and metric.lower_is_better is not None:
        verdict += ", better" if (found.value < 0) == metric.lower_is_better else ", worse"
    return {"value": round(found.value, 4), "ci95": [round(found.low, 4), round(found.high, 4)], "verdict": verdict}


def _length_matched(
    task: Task, before: Mapping[str, Answer], draws: Sequence[Mapping[str, Answer]]
) -> dict[str, Any] | None:
    """Compute both settings' figures with each pair of captions cut to as many words as the shorter one has."""
    pairs = [_cut(task, before, after) for after in draws]
    if not all(first for first, _ in pairs):
        return None
    first, second = (
        mean_of([next(iter(task.tallies(kept).values())) for kept in side]) for side in zip(*pairs, strict=True)
    )
    return {
        "baseline": {metric.name: _round(measure(first, metric)) for metric in first.metrics},
        **{metric.name: _round(measure(second, metric)) for metric in second.metrics},
        "difference": {metric.name: _difference(first, second, metric) for metric in first.metrics},
    }


def _cut(
    task: Task, before: Mapping[str, Answer], after: Mapping[str, Answer]
) -> tuple[dict[str, Answer], dict[str, Answer]]:
    cut: tuple[dict[str, Answer], dict[str, Answer]] = {}, {}
    first_captions, second_captions = task.captions(before), task.captions(after)
    for question in task.questions():
        if question.group == "caption" and question.id in before and question.id in after:
            pair = first_captions[question.unit].split(), second_captions[question.unit].split()
            length = min(map(len, pair))
            for kept, words in zip(cut, pair, strict=True):
                kept[question.id] = Answer(" ".join(words[:length]))
    return cut


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _applied(given: Sequence[Answer]) -> dict[str, Any] | None:
    reports = [by_method for answer in given if (by_method := _reports(answer))]
    if not reports:
        return None
    every = [report for by_method in reports for report in by_method.values()]
    reasons = Counter(report["reason"] for report in every if report["reason"] is not None)
    heads: dict[str, Counter[str]] = {}
    for layer in (layer for report in every for layer in report["layers"]):
        one = layer.get("head")
        for head in layer.get("heads", []) if one is None else [one]:
            heads.setdefault(str(layer["layer"]), Counter())[str(head)] += 1
    applied = sum(all(report["applied"] for report in by_method.values()) for by_method in reports)
    return {
        "share": round(applied / len(reports), 4),
        "reasons": dict(reasons),
        "heads": {layer: dict(sorted(counts.items(), key=lambda kv: int(kv[0]))) for layer, counts in heads.items()},
    }


def _reports(answer: Answer) -> dict[str, Mapping[str, Any]]:
    return ({} if answer.eah is None else {EAH: answer.eah}) | dict(answer.methods or {})
