"""Compares a setting with the whole curve of captions that merely end sooner: at its recall, and at its CHAIRs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.count.statistics import around, measure, only, resampled
from eah_vllm.evaluation.task import Tally

Array = npt.NDArray[np.float64]


def against_sooner(after: Tally, curve: Sequence[Tally]) -> dict[str, Any] | None:
    """Return how much better a setting is than the curve, with paired intervals by bootstrap over pictures.

    Each resample draws the same pictures for all, and interpolates between the curve's points of these pictures.

    Args:
        after: counts of the captions of the setting.
        curve: counts of the curve's points, the one with most recall first.

    Returns:
        `chairs_at_equal_recall`: CHAIRs less those of the curve where it has the same recall. `recall_at_equal_chairs`:
        recall less that of the curve where it has the same CHAIRs. Each has `curve` (the value there), the difference
        and its `ci95`, and `outside`: the share of resamples in which the curve does not reach so far, where its
        nearest end was taken. None without a curve.
    """
    if len(curve) < 2:
        return None
    common = [unit for unit in after.units if all(unit in set(point.units) for point in curve)]
    after, curve = only(after, common), [only(point, common) for point in curve]
    metrics = {metric.name: metric for metric in after.metrics}
    found = {}
    for name, fixed in (("chairs", "recall"), ("recall", "chairs")):
        seen = [[measure(tally, metrics[which]) for tally in (after, *curve)] for which in (name, fixed)]
        if None in (*seen[0], *seen[1]):
            return None
        drawn = [np.stack([resampled(tally, metrics[which]) for tally in (after, *curve)]) for which in (name, fixed)]
        values, places = (
            np.concatenate([np.array(one)[:, None], more], axis=1) for one, more in zip(seen, drawn, strict=True)
        )
        there = interpolated(places[0], places[1:], values[1:])
        outside = (places[0] < places[1:].min(axis=0)) | (places[0] > places[1:].max(axis=0))
        difference = values[0] - there
        interval = around(float(difference[0]), difference[1:])
        found[f"{name}_at_equal_{fixed}"] = {
            "curve": round(float(there[0]), 4),
            "difference": round(interval.value, 4),
            "ci95": [round(interval.low, 4), round(interval.high, 4)],
            "outside": round(float(outside[1:].mean()), 4),
        }
    return found


def interpolated(at: Array, places: Array, values: Array) -> Array:
    """Interpolate a curve linearly; beyond its ends it stays as it is there.

    Args:
        at: `[n]`, where to read each curve.
        places: `[points, n]`.
        values: `[points, n]`.
    """
    order = np.argsort(places, axis=0, kind="stable")
    places, values = np.take_along_axis(places, order, 0), np.take_along_axis(values, order, 0)
    return np.array([np.interp(at[i], places[:, i], values[:, i]) for i in range(len(at))])


def curve_points(settings: Sequence[Setting], tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """Return bias, CHAIRs, recall and words of each point of the curve."""
    found = []
    for setting in settings:
        tally = tallies[setting.name]
        seen = {metric.name: measure(tally, metric) for metric in tally.metrics}
        found.append({"end_bias": setting.end_bias, **{name: seen[name] for name in ("chairs", "recall", "words")}})
    return found
