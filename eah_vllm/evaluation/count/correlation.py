"""Correlations with bootstrap intervals: Spearman's, and the point-biserial one of a figure with yes or no."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A coefficient in -1..1 and its 95 % percentile-bootstrap interval."""

    value: float
    low: float
    high: float


def spearman(x: Values, y: Values, *, seed: int = 0) -> Correlation | None:
    """Compute the rank correlation; ties share the mean of their ranks. None where x or y is the same everywhere."""
    weights = _draws(len(x), seed)
    return _of(x, y, weights, _ranks(x, weights), _ranks(y, weights))


def partial_spearman(x: Values, y: Values, given: Values, *, seed: int = 0) -> Correlation | None:
    """Compute the rank correlation of what `given` does not explain.

    From the ranks of each side, their straight line through the ranks of `given` is subtracted.

    None where any of the three is the same everywhere.
    """
    weights = _draws(len(x), seed)
    a, b, line = (_centred(_ranks(values, weights), weights) for values in (x, y, given))
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (side - line * (_sums(weights * side * line) / _sums(weights * line * line))[:, None] for side in (a, b))
    return None if np.ptp(given) == 0 else _of(x, y, weights, a, b)


def point_biserial(x: Values, yes: Values, *, seed: int = 0) -> Correlation | None:
    """Compute the correlation of a figure with 0 or 1, which is Pearson's. None where either is the same everywhere."""
    weights = _draws(len(x), seed)
    return _of(x, yes, weights, np.broadcast_to(x, weights.shape), np.broadcast_to(yes, weights.shape))


def _draws(count: int, seed: int) -> Values:
    """Return `[1 + RESAMPLES, count]`, how often each item is drawn; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count)), drawn])


def _ranks(values: Values, weights: Values) -> Values:
    """Return `[resamples, count]`, the rank from 1 of each item in each resample; ties share the mean of their ranks.

    Ranks are taken anew in each resample, because the sample's own ranks would hide what a resample's ties do.
    """
    levels, level_of = np.unique(values, return_inverse=True)
    count = weights @ np.eye(len(levels))[level_of]  # `[resamples, levels]`
    shared: Values = (np.cumsum(count, axis=1) - (count - 1) / 2)[:, level_of]
    return shared


def _centred(values: Values, weights: Values) -> Values:
    centred: Values = values - (_sums(weights * values) / _sums(weights))[:, None]
    return centred


def _sums(values: Values) -> Values:
    summed: Values = values.sum(axis=1)
    return summed


def _of(x: Values, y: Values, weights: Values, a: Values, b: Values) -> Correlation | None:
    """Compute Pearson's coefficient of `a` and `b` in each resample; None where `x` or `y` is the same everywhere."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    a, b = _centred(a, weights), _centred(b, weights)
    scale = np.sqrt(_sums(weights * a * a) * _sums(weights * b * b))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(scale > 0, _sums(weights * a * b) / scale, np.nan)
    low, high = np.nanpercentile(drawn[1:], [2.5, 97.5])
    return Correlation(float(drawn[0]), float(low), float(high))
