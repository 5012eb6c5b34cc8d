"""How well P(yes) tells objects that are there from invented ones: ROC, its area, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eah_vllm.evaluation.checked.objects import CheckedObject
from eah_vllm.evaluation.count.statistics import Interval, around, draws

BINS = 10
Array = npt.NDArray[np.float64]


def area(p_yes: Array, there: npt.NDArray[np.bool_], weights: Array | None = None) -> Array:
    """Compute the area under the ROC curve: the chance that a true object has more P(yes) than an invented one.

    Ties count one half.

    Args:
        p_yes: `[objects]`.
        there: `[objects]`, whether the picture has them.
        weights: `[resamples, objects]`, how often each is drawn; once if it is None.

    Returns:
        `[resamples]`; NaN where no object, or every one, is there.
    """
    weights = np.ones((1, len(p_yes))) if weights is None else weights
    order = np.argsort(p_yes, kind="stable")
    starts = np.unique(p_yes[order], return_index=True)[1]
    sides = (there[order], ~there[order])
    true, invented = (
        np.add.reduceat(weights[:, order] * side, starts, axis=1) for side in sides
    )  # [resamples, values]
    below = np.cumsum(invented, axis=1) - invented
    wins = (true * (below + invented / 2)).sum(axis=1)
    pairs = true.sum(axis=1) * invented.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(pairs == 0, np.nan, wins / pairs), dtype=np.float64)


def area_interval(objects: Sequence[CheckedObject]) -> Interval | None:
    """Return the area with its 95 % interval by bootstrap over pictures; None without objects of both kinds."""
    p_yes, there = np.array([one.p_yes for one in objects]), np.array([one.there for one in objects], dtype=bool)
    if not len(objects) or there.all() or not there.any():
        return None
    units = {unit: number for number, unit in enumerate(dict.fromkeys(one.unit for one in objects))}
    drawn = draws(len(units), 0)[:, [units[one.unit] for one in objects]]
    return around(float(area(p_yes, there)[0]), area(p_yes, there, drawn))


def roc(objects: Sequence[CheckedObject]) -> list[dict[str, float]]:
    """Return the curve's points, one for each threshold: shares of invented and of true objects that are denied."""
    p_yes, there = np.array([one.p_yes for one in objects]), np.array([one.there for one in objects], dtype=bool)
    points = []
    for threshold in [*np.unique(p_yes), np.inf]:
        denied = p_yes < threshold
        points.append(
            {
                "threshold": float(threshold) if np.isfinite(threshold) else 1.0,
                "invented_denied": float(denied[~there].mean()),
                "true_denied": float(denied[there].mean()),
            }
        )
    return points


def calibration(objects: Sequence[CheckedObject]) -> list[dict[str, Any]]:
    """Return for each tenth of P(yes) the number of objects, their mean P(yes), and the share that is there.

    Tenths without an object are left out. The interval of the share is Wilson's.
    """
    rows = []
    for number in range(BINS):
        inside = [one for one in objects if min(int(BINS * one.p_yes), BINS - 1) == number]
        if inside:
            share = sum(one.there for one in inside) / len(inside)
            low, high = wilson(share, len(inside))
            rows.append(
                {
                    "from": number / BINS,
                    "to": (number + 1) / BINS,
                    "objects": len(inside),
                    "p_yes": round(sum(one.p_yes for one in inside) / len(inside), 4),
                    "there": round(share, 4),
                    "ci95": [round(low, 4), round(high, 4)],
                }
            )
    return rows


def calibration_error(rows: Sequence[dict[str, Any]]) -> float:
    """Return the mean distance of P(yes) from the share that is there, over objects (expected calibration error)."""
    objects = sum(row["objects"] for row in rows)
    return sum(row["objects"] * abs(row["p_yes"] - row["there"]) for row in rows) / objects if objects else 0.0


def wilson(share: float, number: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `number` things."""
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    reach = z * np.sqrt(share * (1 - share) / number + z * z / (4 * number**2)) / (1 + z * z / number)
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))
