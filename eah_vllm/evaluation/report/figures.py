"""Makes the report's plots of `sweep.json` and `mechanism.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eah_vllm.evaluation.report.plots import Cell, Plot, heat_map, intervals
from eah_vllm.evaluation.report.tables import TITLES, signed


def sweep_plot(sweep: Mapping[str, Any]) -> Plot:
    """Plot the difference from off by row and column, on the choosing half; dropped cells are struck through."""
    metric, better = TITLES.get(sweep["metric"], sweep["metric"]), -1 if sweep["lower_is_better"] else 1
    placed = {(cell["row"], cell["column"]): cell for cell in sweep["cells"]}
    values = [cell["difference"]["value"] for cell in sweep["cells"] if cell["difference"]]
    largest = max([1.0, *map(abs, values)])

    def cell(row: Any, column: str) -> Cell | None:
        found = placed.get((row, column))
        if found is None or not found["difference"]:
            return None
        value = found["difference"]["value"]
        return Cell(-better * value / largest, signed(value), found["chosen"], found["dropped"] is not None)

    cells = [[cell(row, column) for column in sweep["columns"]] for row in sweep["rows"]]
    of_layers = all(isinstance(row, int) for row in sweep["rows"])
    axes = ("layer", "threshold, or fixed head") if of_layers else ("", "")
    told = f"Change of {metric} by {' and '.join(axes) if of_layers else 'options'}; the figures are in sweep.json."
    columns = [str(column) for column in sweep["columns"]]
    return heat_map("sweep", told, cells, list(map(str, sweep["rows"])), columns, *axes)


def mechanism_plots(mechanism: Mapping[str, Any]) -> tuple[Plot, list[Plot]]:
    """Plot sinks per layer and head at the first threshold, and correlations with hallucination for each threshold."""
    tokens, first = mechanism["image_tokens"], mechanism["thresholds"][0]
    largest = max(max(heads) for heads in first["sinks"]) or 1.0
    sinks = [[Cell(-count / largest, f"{count:.0f}") for count in heads] for heads in first["sinks"]]
    layers, heads = ([str(i) for i in range(len(counted))] for counted in (sinks, sinks[0]))
    told = f"Mean number of vision sinks of {tokens} image tokens, by layer and head; figures: mechanism.json."
    by_threshold = {
        threshold["name"]: _correlations(threshold)
        for threshold in mechanism["thresholds"]
        if any(threshold["correlation"]["densest head"]["spearman"])
    }
    ends = [abs(end) for series in by_threshold.values() for values in series.values() for one in values if one
            for end in one]  # fmt: skip
    reach = 1.05 * max(ends, default=1.0)  # all plots have one scale, so that thresholds can be compared
    return heat_map("sinks", told, sinks, layers, heads, "layer", "head"), [
        intervals(
            f"correlation-{name.replace('/', '-')}",
            f"Rank correlation of sink density with CHAIRi at threshold {name}, by layer; figures: mechanism.json.",
            series, layers, "layer", f"rank correlation, threshold {name}", reach,
        )
        for name, series in by_threshold.items()
    ]  # fmt: skip


def _correlations(threshold: Mapping[str, Any]) -> dict[str, list[tuple[float, float, float] | None]]:
    densest, mean = (threshold["correlation"][heads] for heads in ("densest head", "mean over heads"))
    shown = {
        "densest head": densest["spearman"],
        "mean of heads": mean["spearman"],
        "densest, given objects": densest["spearman_given_objects"],
    }
    return {name: [one and (one["value"], *one["ci95"]) for one in by_layer] for name, by_layer in shown.items()}
