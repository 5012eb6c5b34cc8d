"""Figures with intervals, by a paired bootstrap over pictures, and their spread over splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eah_vllm.evaluation.task import Metric, Tally

RESAMPLES = 4000
SPLITS = 5


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval holds 0, which means that no difference was seen."""
        return self.low <= 0.0 <= self.high


def measure(tally: Tally, metric: Metric) -> float | None:
    """Compute a metric over all units; None where the divisor is 0."""
    value = float(_ratios(tally, metric, np.ones((1, len(tally.units))))[0])
    return None if np.isnan(value) else value


def interval(tally: Tally, metric: Metric, *, seed: int = 0) -> Interval | None:
    """Compute a metric with its percentile-bootstrap interval over units."""
    value = measure(tally, metric)
    if value is None:
        return None
    return around(value, resampled(tally, metric, seed=seed))


def difference(before: Tally, after: Tally, metric: Metric, *, seed: int = 0) -> Interval | None:
    """Compute `after - before` with its paired interval: each resample draws the same units for both.

    Units that only one side has are left out.
    """
    common = [unit for unit in before.units if unit in set(after.units)]
    before, after = only(before, common), only(after, common)
    a, b = measure(before, metric), measure(after, metric)
    if a is None or b is None:
        return None
    return around(b - a, resampled(after, metric, seed=seed) - resampled(before, metric, seed=seed))


def resampled(tally: Tally, metric: Metric, *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return `[RESAMPLES]`, the metric over drawn units; tallies of the same units get the same draws."""
    return _ratios(tally, metric, draws(len(tally.units), seed))


def around(value: float, drawn: npt.NDArray[np.float64]) -> Interval:
    """Return a value with the 95 % interval that its values over resamples give."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def spread(tally: Tally, metric: Metric) -> tuple[float, float] | None:
    """Return the mean and standard deviation of a metric over `SPLITS` splits of the units; None with too few units."""
    parts = [measure(only(tally, tally.units[first::SPLITS]), metric) for first in range(SPLITS)]
    values = [part for part in parts if part is not None]
    return (float(np.mean(values)), float(np.std(values, ddof=1))) if len(values) == SPLITS else None


def changes(before: Tally, after: Tally) -> tuple[int, int]:
    """Count captions that lose all their hallucinations, and that get their first.

    For yes/no questions these are the wrong answers that became fewer, and more.
    """
    common = [unit for unit in before.units if unit in set(after.units)]
    delta = only(after, common).wrong - only(before, common).wrong
    return int(-delta[delta < 0].sum()), int(delta[delta > 0].sum())


def only(tally: Tally, units: list[str] | tuple[str, ...]) -> Tally:
    """Return the tally of some of its units."""
    row_of = {unit: row for row, unit in enumerate(tally.units)}
    rows = [row_of[unit] for unit in units]
    return Tally(tuple(units), tally.columns, tally.counts[rows], tally.metrics, tally.wrong[rows])


def mean_of(tallies: Sequence[Tally]) -> Tally:
    """Average the counts of several draws, for each unit that all draws have.

    A bootstrap over its units draws each picture with all its draws, so its interval is that of the mean over draws.
    """
    first, *others = tallies
    if not others:
        return first
    has_all = set(first.units).intersection(*(tally.units for tally in others))
    units = [unit for unit in first.units if unit in has_all]
    same = [only(tally, units) for tally in tallies]
    counts, wrong = (np.mean([getattr(tally, name) for tally in same], axis=0) for name in ("counts", "wrong"))
    return Tally(tuple(units), first.columns, counts, first.metrics, wrong)


@lru_cache(maxsize=4)
def draws(units: int, seed: int) -> npt.NDArray[np.float64]:
    """Return `[RESAMPLES, units]`, how often each unit is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=RESAMPLES).astype(np.float64)


def _ratios(tally: Tally, metric: Metric, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = weights @ tally.counts
    index = {name: i for i, name in enumerate(tally.columns)}
    top = sum(sums[:, index[name]] * factor for name, factor in metric.top.items())
    bottom = sum(sums[:, index[name]] * factor for name, factor in metric.bottom.items())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: npt.NDArray[np.float64] = np.where(bottom == 0, np.nan, metric.scale * np.asarray(top) / bottom)
    return ratios
