"""The bounds that were set before anything was measured, and whether they are met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound: the median of a figure must lie within `least` and `most`."""

    figure: str
    text: str
    least: float | None = None
    most: float | None = None

    def met(self, seen: float) -> bool:
        """Whether a median lies within the bound."""
        return (self.least is None or seen >= self.least) and (self.most is None or seen <= self.most)


BARS = (
    Bar("tpot_on_over_stock", "1.00 ± 0.02", 0.98, 1.02),
    Bar("ttft_off_over_stock", "1.00 ± 0.02", 0.98, 1.02),
    Bar("ttft_on_over_stock_32layers", "at most 1.01", most=1.01),
    Bar("throughput_on_over_stock_c16", "at least 0.98", least=0.98),
    Bar("throughput_half_over_stock_c16", "at least 0.99", least=0.99),
    Bar("mixed_ttft_p50_off_over_stock", "1.00 ± 0.02", 0.98, 1.02),
    Bar("mixed_itl_p50_off_over_stock", "1.00 ± 0.02", 0.98, 1.02),
    Bar("idle_tpot_idle_over_off_c1", "1.00 ± 0.02", 0.98, 1.02),
    Bar("idle_tpot_idle_over_stock_c1", "1.00 ± 0.02", 0.98, 1.02),
    Bar("idle_tpot_on_idle_over_on_c1", "1.00 ± 0.02", 0.98, 1.02),
    Bar("on_over_published_c16", "at least 10", least=10),
    Bar("verify_time_rewrite_over_off_c1", "at most 1.35", most=1.35),
    Bar("verify_throughput_rewrite_over_off_c16", "at least 0.75", least=0.75),
    Bar("op_peak_mb_s4096", "at most 64", most=64),
    Bar("op_speedup_over_naive_s2048", "at least 5", least=5),
    Bar("op_over_fused_s648", "at most 1.5", most=1.5),
    Bar("op_over_fused_s2048", "at most 1.5", most=1.5),
)

HEADER = ("figure", "bar", "seen (median, min to max, runs)", "met")


def verdicts(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return a row of the table for each bar; the bar of a figure that was not measured is not met."""
    rows = []
    for bar in BARS:
        figure = figures.get(bar.figure)
        if figure is None:
            rows.append((bar.figure, bar.text, "not measured", "no"))
            continue
        seen = f"{figure['median']:.4g} ({figure['min']:.4g} to {figure['max']:.4g}, {figure['runs']})"
        met = "yes" if bar.met(figure["median"]) else "**missed**"
        rows.append((bar.figure, bar.text, seen, met))
    return rows
