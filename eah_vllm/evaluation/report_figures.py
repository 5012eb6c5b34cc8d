"""The report's plots of `sweep.json` and `mechanism.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eah_vllm.evaluation.plots import Cell, Plot, heat_map, intervals
from eah_vllm.evaluation.report_tables import TITLES, signed


def sweep_plot(sweep: Mapping[str, Any]) -> Plot:
    """Difference from off by layer and threshold, on the choosing half; dropped cells are struck through."""
    metric, better = TITLES.get(sweep["metric"], sweep["metric"]), -1 if sweep["lower_is_better"] else 1
    placed = {(cell["layer"], cell["column"]): cell for cell in sweep["cells"]}
    values = [cell["difference"]["value"] for cell in sweep["cells"] if cell["difference"]]
    largest = max([1.0, *map(abs, values)])

    def cell(layer: Any, column: str) -> Cell | None:
        found = placed.get((layer, column))
        if found is None or not found["difference"]:
            return None
        value = found["difference"]["value"]
        return Cell(-better * value / largest, signed(value), found["chosen"], found["dropped"] is not None)

    cells = [[cell(layer, column) for column in sweep["columns"]] for layer in sweep["layers"]]
    told = f"Change of {metric} by layer and threshold; the figures are in sweep.json."
    columns = [str(column) for column in sweep["columns"]]
    return heat_map("sweep", told, cells, list(map(str, sweep["layers"])), columns, "layer", "threshold, or fixed head")


def mechanism_plots(mechanism: Mapping[str, Any]) -> tuple[Plot, Plot]:
    """Vision sinks per layer and head, and their correlation with hallucination per layer, at the first threshold."""
    first = mechanism["thresholds"][0]
    tokens = mechanism["image_tokens"]
    sinks = [[Cell(-count / tokens, f"{count:.0f}") for count in heads] for heads in first["sinks"]]
    layers = list(map(str, range(len(sinks))))
    heads = list(map(str, range(len(sinks[0]))))
    told = f"Mean number of vision sinks of {tokens} image tokens, by layer and head; the figures are in mechanism.json."
    correlated = {
        name: [found and (found["value"], *found["ci95"]) for found in by_outcome["spearman"]]
        for name, by_outcome in first["correlation"].items()
    }
    return (
        heat_map("sinks", told, sinks, layers, heads, "layer", "head"),
        intervals(
            "correlation", "Rank correlation of sink density with CHAIRi per image, by layer; the figures are in "
            "mechanism.json.", correlated, layers, "layer", "Spearman's rank correlation with CHAIRi",
        ),
    )  # fmt: skip
