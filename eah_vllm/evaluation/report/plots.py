"""Plots in the page's own colours: as SVG, which follows light and dark through CSS variables, and as PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Colours = Mapping[str, str]

PAPER: Colours = {
    "ink": "#1f2428", "muted": "#66707a", "rule": "#d5d9de", "eah": "#0f6f8c", "control": "#a85b14",
    "length": "#7a4fa3", "verify": "#2f7d4f", "better": "#11819f", "worse": "#d0702a",
}  # fmt: skip
"""The colours of PNG files, by role."""
_STAND_INS: Colours = {role: f"#0000{number + 1:02x}" for number, role in enumerate(PAPER)}
"""Colours that are drawn in SVG and then replaced by `var(--role)`, since matplotlib cannot write a CSS variable."""
PIXELS = 98
"""Pixels of the page for an inch of a plot, so that text of 9 points is about 12 pixels high."""
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Plot:
    """A drawing that can be made in any colours.

    Attributes:
        name: name of the PNG file, without suffix.
        told: description for those who cannot see the plot.
        size: width and height in inches of 72 points.
        draw: function that draws it on empty axes.
    """

    name: str
    told: str
    size: tuple[float, float]
    draw: Callable[[Axes, Colours], None]


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map: its shade in -1..1 (below 0 is better), its text, and how it is drawn."""

    shade: float
    text: str
    framed: bool = False
    faded: bool = False


def svg(plot: Plot) -> str:
    """Return an `<svg>` element whose colours are CSS variables of the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": plot.name}):
        _figure([plot], _STAND_INS).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same ids would occur in several plots
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    for role, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{role})")
    told = plot.told.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    width = f"max-width:{plot.size[0] * PIXELS:.0f}px"  # letters have one size in all plots
    return text.replace("<svg", f'<svg role="img" aria-label="{told}" style="{width}"', 1).strip()


def write_png(plots: Sequence[Plot], path: Path, legend: str = "") -> None:
    """Write the plots side by side, on white, with the legend below them that the page shows elsewhere."""
    with matplotlib.rc_context(_STYLE):
        figure = _figure(plots, PAPER)
        if legend:
            figure.supxlabel(legend, fontsize=8, color=PAPER["muted"], x=0.02, ha="left")
        figure.savefig(path, dpi=200, facecolor="white", bbox_inches="tight", metadata={"Software": None})


def _figure(plots: Sequence[Plot], colours: Colours) -> Figure:
    width, height = sum(plot.size[0] for plot in plots), max(plot.size[1] for plot in plots)
    figure = Figure(figsize=(width, height), layout="constrained")
    for number, plot in enumerate(plots, 1):
        axes = figure.add_subplot(1, len(plots), number)
        axes.tick_params(colors=colours["muted"], labelcolor=colours["ink"], length=3)
        for spine in axes.spines.values():
            spine.set_color(colours["muted"])
        plot.draw(axes, colours)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(colours["ink"])
    return figure


def heat_map(
    name: str, told: str, cells: Sequence[Sequence[Cell | None]], rows: Sequence[str], columns: Sequence[str],
    row_label: str, column_label: str,
) -> Plot:  # fmt: skip
    """Draw rectangles shaded by hue and opacity, readable on white and on black; None leaves a place empty."""

    def draw(axes: Axes, colours: Colours) -> None:
        for y, line in enumerate(cells):
            for x, cell in enumerate(line):
                if cell is None:
                    continue
                box = Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, linewidth=0.8, fill=not cell.faded)
                if cell.faded:
                    box.set_edgecolor(colours["rule"])
                else:
                    box.set_facecolor(colours["better" if cell.shade < 0 else "worse"])
                    box.set_linewidth(0)
                    box.set_alpha(round(0.06 + 0.6 * min(1.0, abs(cell.shade)), 3))
                axes.add_patch(box)
                colour = colours["muted" if cell.faded else "ink"]
                weight = "bold" if cell.framed else "normal"
                axes.text(x, y, cell.text, ha="center", va="center", color=colour, fontsize=8, fontweight=weight)
                if cell.framed:
                    axes.add_patch(
                        Rectangle((x - 0.46, y - 0.45), 0.92, 0.9, fill=False, linewidth=1.6, edgecolor=colours["ink"])
                    )
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel(column_label)
        axes.set_ylabel(row_label)

    return Plot(name, told, (1.1 + 0.62 * max(4, len(columns)), 0.8 + 0.42 * len(rows)), draw)


def intervals(
    name: str, told: str, series: Mapping[str, Sequence[tuple[float, float, float] | None]], rows: Sequence[str],
    row_label: str, x_label: str, reach: float,
) -> Plot:  # fmt: skip
    """Draw values with intervals, a line per row and series, from -`reach` to `reach`; None leaves a place empty."""

    def draw(axes: Axes, colours: Colours) -> None:
        axes.axvline(0, color=colours["muted"], linewidth=0.8)
        axes.grid(axis="x", color=colours["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        for number, (label, values) in enumerate(series.items()):
            colour = colours[("eah", "control", "length")[number]]
            shift = 0.18 * (number - (len(series) - 1) / 2)
            for y, value in enumerate(values):
                if value is not None:
                    axes.plot(value[1:], [y + shift] * 2, color=colour, linewidth=1.4, alpha=0.6)
                    axes.plot([value[0]], [y + shift], "osD"[number], color=colour, markersize=5)
            axes.plot([], [], "osD"[number], color=colour, markersize=5, label=label)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-reach, reach)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(x_label)
        axes.set_ylabel(row_label)
        axes.legend(frameon=False, labelcolor=colours["ink"], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    return Plot(name, told, (4.7, 1.3 + 0.36 * len(rows)), draw)
