"""Removes objects by other rules than the model's verdict: as many drawn at random, and all below another threshold."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eah_vllm.evaluation.checked.objects import Checked, Remover, judged_objects
from eah_vllm.evaluation.count.statistics import measure
from eah_vllm.evaluation.task import Answer, Tally, Task

THRESHOLDS = (0.0, 0.01, 0.02, 0.05, *(n / 20 for n in range(2, 19)), 0.95, 0.98, 0.99, 1.0)
MAX_RECALL_LOSS = 1.0


def drawn_objects(caption: Checked, draw: str) -> frozenset[str]:
    """Draw as many of a caption's objects as the model denied; the same ones each time, and others in another draw."""
    rng = random.Random(f"{draw}/{caption.question}")
    return frozenset(rng.sample(caption.objects, len(caption.denied)))


def without(
    captions: Sequence[Checked], denied: Callable[[Checked], Collection[str]], remove: Remover
) -> dict[str, Answer]:
    """Return the captions' answers with other objects removed from their original texts."""
    return {
        one.question: replace(one.answer, text=remove(one.original, one.mentions, denied(one)), verify=None)
        for one in captions
    }


def removal_facts(task: Task, captions: Sequence[Checked], draws: Sequence[str], remove: Remover) -> dict[str, Any]:
    """Return what shows that the control removes as many, and at random, and by the code that the server uses.

    `removed` and `removed_by_verify` are numbers of objects, and `gone` and `gone_by_verify` how many different words
    of the scorer's the texts have lost, which is more where an object could not go alone. `invented_share` is the share
    of invented ones among those removed, by draw, beside `invented_share_expected` of objects drawn evenly from the
    same captions, and `invented_share_by_verify`. `place` is the mean place in the caption, from 0 (first) to 1 (last),
    of those removed in captions with two objects or more; 0.5 is expected. `same_text` is the share of changed captions
    that the code turns into the very text of the server.
    """
    there = {(one.unit, one.name): one.there for one in judged_objects(task, captions)}
    changed = [one for one in captions if one.denied]
    by_draw = {draw: [(one, drawn_objects(one, draw)) for one in changed] for draw in draws}
    expected = total = 0.0
    for one in changed:
        known = [there[one.unit, name] for name in one.objects if (one.unit, name) in there]
        if known:
            expected += len(one.denied) * (1 - sum(known) / len(known))
            total += len(one.denied)
    texts = {draw: [(one, remove(one.original, one.mentions, names)) for one, names in by_draw[draw]] for draw in draws}
    same = [remove(one.original, one.mentions, one.denied) == one.answer.text for one in changed]
    return {
        "captions": len(captions),
        "captions_changed": len(changed),
        "removed_by_verify": sum(len(one.denied) for one in changed),
        "removed": [sum(len(names) for _, names in pairs) for pairs in by_draw.values()],
        "gone_by_verify": _gone(task, [(one, one.answer.text) for one in changed]),
        "gone": [_gone(task, pairs) for pairs in texts.values()],
        "as_many_in_every_caption": all(len(n) == len(one.denied) for pairs in by_draw.values() for one, n in pairs),
        "invented_share_by_verify": _invented([(one, one.denied) for one in changed], there),
        "invented_share": [_invented(pairs, there) for pairs in by_draw.values()],
        "invented_share_expected": round(expected / total, 4) if total else None,
        "place": [_place(pairs) for pairs in by_draw.values()],
        "same_text": round(sum(same) / len(same), 4) if same else None,
    }


def _gone(task: Task, texts: Sequence[tuple[Checked, str]]) -> int:
    def words(unit: str, text: str) -> set[str]:
        return {text[start:end] for start, end, _ in task.named_words(unit, text)}

    return sum(len(words(one.unit, one.original) - words(one.unit, text)) for one, text in texts)


def _invented(pairs: Sequence[tuple[Checked, Collection[str]]], there: Mapping[tuple[str, str], bool]) -> float | None:
    known = [there[one.unit, name] for one, names in pairs for name in names if (one.unit, name) in there]
    return round(1 - sum(known) / len(known), 4) if known else None


def _place(pairs: Sequence[tuple[Checked, Collection[str]]]) -> float | None:
    places = [
        one.objects.index(name) / (len(one.objects) - 1)
        for one, names in pairs
        for name in names
        if len(one.objects) > 1
    ]
    return round(sum(places) / len(places), 4) if places else None


def thresholds(
    task: Task, captions: Sequence[Checked], off: Mapping[str, Answer], remove: Remover
) -> list[dict[str, Any]]:
    """Return for each threshold the figures of the captions without the objects whose P(yes) is below it.

    Recall is compared with EAH off. The texts are made here, by the server's code, so that one run of the server is
    enough for all thresholds.
    """
    asked = {one.question for one in captions}
    before = _caption_tally(task, {id_: answer for id_, answer in off.items() if id_ in asked})
    recall = _figures(before)["recall"]
    rows = []
    for threshold in THRESHOLDS:
        denied: Callable[[Checked], Collection[str]]
        denied = lambda one, t=threshold: [name for name in one.objects if one.p_yes(name) < t]  # type: ignore[misc]  # noqa: E731
        figures = _figures(_caption_tally(task, without(captions, denied, remove)))
        lost = None if recall is None or figures["recall"] is None else round(recall - figures["recall"], 4)
        rows.append({"threshold": threshold, **figures, "recall_lost": lost})
    return rows


def chosen_threshold(rows: Sequence[Mapping[str, Any]], max_recall_loss: float = MAX_RECALL_LOSS) -> float | None:
    """Return the threshold with the lowest CHAIRs of those that lose at most so many points of recall.

    Of equals it is the lowest. None if every threshold loses more.
    """
    fit = [row for row in rows if row["recall_lost"] is not None and row["recall_lost"] <= max_recall_loss]
    return min(fit, key=lambda row: (row["chairs"], row["threshold"]))["threshold"] if fit else None


def _caption_tally(task: Task, answers: Mapping[str, Answer]) -> Tally:
    return task.tallies(answers)["caption"]


def _figures(tally: Tally) -> dict[str, float | None]:
    seen = {metric.name: measure(tally, metric) for metric in tally.metrics}
    return {name: None if value is None else round(value, 4) for name, value in seen.items()}
