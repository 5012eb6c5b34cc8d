"""The trade-off plot: hallucination against its price, for example lost recall, with one point per setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from matplotlib.axes import Axes

from eah_vllm.evaluation.report.plots import Colours, Plot

SIZE = (4.7, 3.7)
_MARKERS = {"off": "o", "eah": "o", "control": "s", "fixed": "^", "length": "D", "verify": "P", "removal": "X"}
_AROUND = ((7, 5), (-7, 5), (7, -6), (-7, -6), (0, 9), (0, -10), (12, 0), (-12, 0))
"""Places where a letter may stand, in points from its marker."""


@dataclass(frozen=True)
class Point:
    """One setting: on either axis the value, and the lower and upper end of its interval."""

    letter: str
    kind: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def trade_off(name: str, points: Sequence[Point], x_label: str, y_label: str) -> Plot:
    """Plot one point per setting, with the intervals of both figures as bars."""

    def draw(axes: Axes, colours: Colours) -> None:
        axes.grid(color=colours["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        for point, offset in zip(points, _letter_places(points), strict=True):
            colour = colours[{"off": "ink", "fixed": "control", "removal": "control"}.get(point.kind, point.kind)]
            (x, *x_ends), (y, *y_ends) = point.x, point.y
            axes.plot(x_ends, [y, y], color=colour, linewidth=1, alpha=0.3, solid_capstyle="round")
            axes.plot([x, x], y_ends, color=colour, linewidth=1, alpha=0.3, solid_capstyle="round")
            axes.plot(
                [x], [y], _MARKERS[point.kind], color=colour, markersize=5.5, markeredgewidth=1.4,
                fillstyle="none" if point.kind == "off" else "full",
            )  # fmt: skip
            axes.annotate(
                point.letter, (x, y), xytext=offset, textcoords="offset points", color=colour, fontweight="bold",
                ha="center", va="center",
            )  # fmt: skip
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)

    told = f"{y_label} against {x_label} for {len(points)} settings; the figures are in the table."
    return Plot(name, told, SIZE, draw)


def _letter_places(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return for each letter the place around its marker that is farthest from all markers and earlier letters."""
    spots = list(zip(_in_points([p.x for p in points], SIZE[0]), _in_points([p.y for p in points], SIZE[1]),
                     strict=True))  # fmt: skip
    taken = list(spots)
    places: list[tuple[float, float]] = []
    for x, y in spots:
        free = [min(hypot(x + dx - a, y + dy - b) for a, b in taken) for dx, dy in _AROUND]
        # From 8 points on a place counts as free, so that the usual place, above to the right, comes first.
        place = _AROUND[max(range(len(_AROUND)), key=lambda i: min(free[i], 8.0))]
        places.append(place)
        taken.append((x + place[0], y + place[1]))
    return places


def _in_points(values: Sequence[tuple[float, float, float]], inches: float) -> list[float]:
    """Return about where values will stand on the page, in points: the axes take some three quarters of the figure."""
    low, high = min(value[1] for value in values), max(value[2] for value in values)
    return [0.75 * 72 * inches * (value[0] - low) / ((high - low) or 1) for value in values]
