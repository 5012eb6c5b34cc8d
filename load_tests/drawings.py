"""The plots of the page, in the page's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from eah_vllm.evaluation.report.plots import Colours, Plot

PERCENTILES = (50, 90, 99)
_MARKERS = ("o", "|", "s")
WIDE, TALL = 4.7, 2.9


def latencies(results: Sequence[Mapping[str, Any]], metric: str, title: str) -> Plot:
    """Plot the median, 90th and 99th percentile of one time, a line per scenario, on a logarithmic axis."""
    names = [result["scenario"]["name"] for result in results]

    def draw(axes: Axes, colours: Colours) -> None:
        for y, result in enumerate(results):
            values = [result["figures"][f"{metric}_p{p}_ms"] for p in PERCENTILES]
            colour = colours["control" if result["scenario"].get("serve", {}).get("kind") == "stock" else "eah"]
            axes.plot(values, [y] * 3, color=colour, linewidth=1.2, alpha=0.5)
            for value, marker in zip(values, _MARKERS, strict=True):
                axes.plot([value], [y], marker, color=colour, markersize=5 if marker != "|" else 9)
        _grid(axes, colours, "x")
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{title}, ms: p50 (dot), p90 (tick), p99 (square)")

    told = f"{title} by scenario: median, 90th and 99th percentile; the figures are in the table."
    return Plot(f"latency-{metric}", told, (WIDE, 0.8 + 0.32 * len(names)), draw)


def sweep_rates(result: Mapping[str, Any]) -> Plot:
    """Plot the requests per second that were answered, and that met the objective, by arrival rate."""
    steps = result["steps"]
    rates = [step["rate"] for step in steps]

    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot([0, max(rates)], [0, max(rates)], color=colours["muted"], linewidth=0.8, linestyle=":")
        for name, role, marker in (("requests_per_s", "ink", "o"), ("goodput_per_s", "eah", "s")):
            label = {"requests_per_s": "answered", "goodput_per_s": "within the objective"}[name]
            values = [step[name] for step in steps]
            axes.plot(rates, values, marker + "-", color=colours[role], markersize=4.5, linewidth=1.2, label=label)
        _grid(axes, colours, "both")
        axes.set_xlabel("requests per second that arrive (dotted: as many)")
        axes.set_ylabel("requests per second")
        axes.legend(frameon=False, labelcolor=colours["ink"], loc="upper left")

    told = "Requests answered per second, and those within the objective, by arrival rate; figures: result.json."
    return Plot("sweep-rates", told, (WIDE, TALL), draw)


def sweep_times(result: Mapping[str, Any]) -> Plot:
    """Plot TTFT by arrival rate, with its objective."""
    steps, objective = result["steps"], result["scenario"]["objective"]["ttft_ms"]
    answered = [step for step in steps if step.get("ttft_p50_ms")]
    rates = [step["rate"] for step in answered]

    def draw(axes: Axes, colours: Colours) -> None:
        axes.axhline(objective, color=colours["worse"], linewidth=0.9, linestyle="--", label="objective")
        for percentile, marker in zip(PERCENTILES, "oDs", strict=True):
            values = [step[f"ttft_p{percentile}_ms"] for step in answered]
            axes.plot(
                rates, values, marker + "-", color=colours["eah"], markersize=4.5, linewidth=1.2,
                alpha=1.2 - percentile / 125, label=f"p{percentile}",
            )  # fmt: skip
        _grid(axes, colours, "both")
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
        axes.set_xlabel("requests per second that arrive")
        axes.set_ylabel("time to first token, ms")
        axes.legend(frameon=False, labelcolor=colours["ink"], loc="upper left", ncols=2)

    return Plot("sweep-ttft", "Time to the first token by arrival rate; figures: result.json.", (WIDE, TALL), draw)


def over_time(result: Mapping[str, Any]) -> Plot:
    """Plot answers per second over the time of a run."""
    line = result["timeline"][:-1] or result["timeline"]  # the last interval is shorter than the others

    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot(
            [b["at"] / 60 for b in line], [b["requests_per_s"] for b in line], color=colours["eah"], linewidth=1.2
        )
        _grid(axes, colours, "y")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes")
        axes.set_ylabel("answers per second")

    name = result["scenario"]["name"]
    return Plot(f"time-{name}", f"{name}: answers per second over time.", (WIDE, TALL), draw)


def memory(result: Mapping[str, Any]) -> Plot:
    """Plot the memory of all server processes over the time of a run, and when they count as warmed up."""
    samples = result["memory"]
    minutes = [sample["at"] / 60 for sample in samples]

    def draw(axes: Axes, colours: Colours) -> None:
        axes.axvline(minutes[-1] / 6, color=colours["muted"], linewidth=0.8, linestyle=":", label="warmed up")
        axes.plot(minutes, [sample["pss"] for sample in samples], color=colours["muted"], linewidth=1, label="PSS")
        axes.plot(
            minutes, [sample["own"] for sample in samples], color=colours["eah"], linewidth=1.4,
            label="without pages of files",
        )  # fmt: skip
        _grid(axes, colours, "y")
        axes.set_ylim(0, 1.25 * max(sample["pss"] for sample in samples))
        axes.set_xlabel("minutes")
        axes.set_ylabel("MiB, all server processes")
        axes.legend(frameon=False, labelcolor=colours["ink"], loc="upper left", ncols=3)

    name = result["scenario"]["name"]
    return Plot(f"memory-{name}", f"{name}: memory of the server's processes over time.", (WIDE, TALL), draw)


def _grid(axes: Axes, colours: Colours, axis: Any) -> None:
    axes.grid(axis=axis, color=colours["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis 1, 2, 5, 10 ..., or 1, 3, 10 ... where its range is long."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
