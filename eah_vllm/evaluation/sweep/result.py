"""The result of a sweep, in words, as data, and as a configuration of the server."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from eah_vllm.evaluation.ask.methods import EAH
from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.count.method_verdict import method_verdict
from eah_vllm.evaluation.count.statistics import Interval
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE
from eah_vllm.evaluation.count.verdict import verdict
from eah_vllm.evaluation.report.tables import TITLES
from eah_vllm.evaluation.sweep.cells import Measured
from eah_vllm.evaluation.task import Metric


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep.

    Attributes:
        told: the result in a sentence or two.
        helps: whether the chosen setting is better than off on the reporting half, within the loss of recall.
        chosen: the chosen setting; None where no cell was fit to be chosen.
        data: the content of `sweep.json`.
    """

    told: str
    helps: bool
    chosen: Setting | None
    data: Mapping[str, Any]


def outcome(
    cells: Sequence[Measured], chosen: Measured | None, rows: Sequence[Mapping[str, Any]],
    settings: Sequence[Setting], metric: Metric, choosing: int, max_recall_loss: float,
) -> Outcome:  # fmt: skip
    """Judge the chosen cell by the reporting half's rows, of which the first is off and the second the chosen one."""
    name = TITLES.get(metric.name, metric.name)
    helps = False
    if chosen is None:
        told = (
            f"No cell of {len(cells)} helps: on {choosing} pictures none betters {name} "
            f"without losing more than {max_recall_loss:g} points of recall."
        )
    else:
        change = rows[1]["difference"]
        lost = -change["recall"]["value"] if "recall" in change else 0.0
        helps = change[metric.name]["verdict"].endswith("better") and lost <= max_recall_loss
        told = (
            f"Of {len(cells)} cells, {chosen.place.setting.name} was chosen on {choosing} pictures; on {rows[0]['n']} "
            f"others: {method_verdict(rows, settings, metric.name) or verdict(rows, settings, metric.name)}"
        )
        if not helps:
            why = "no difference seen" if change[metric.name]["verdict"] == NO_DIFFERENCE else "it is not better"
            why = why if lost <= max_recall_loss else f"it loses {lost:.1f} points of recall"
            told += f" The choice did not hold: {why}."
        told += _yes_no_lost(rows[1])
    data = {
        "told": told,
        "helps": helps,
        "chosen": chosen and chosen.place.setting.name,
        "metric": metric.name,
        "lower_is_better": bool(metric.lower_is_better),
        "max_recall_loss": max_recall_loss,
        "choosing": choosing,
        "reporting": rows[0]["n"],
        "rule": rule(name, max_recall_loss),
        "rows": list(dict.fromkeys(cell.place.row for cell in cells)),
        "columns": list(dict.fromkeys(cell.place.column for cell in cells)),
        "cells": [_cell(cell, cell is chosen) for cell in cells],
    }
    return Outcome(told, helps, chosen.place.setting if chosen else None, data)


def _yes_no_lost(row: Mapping[str, Any]) -> str:
    """Say it if the setting makes yes/no answers worse: captions alone choose, but this must not be passed over."""
    change = row["parts"].get("yes_no", {}).get("difference", {}).get("accuracy")
    if change is None or not change["verdict"].endswith("worse"):
        return ""
    low, high = change["ci95"]
    return f" Accuracy of yes/no questions falls: {change['value']:+.1f} points [{low:+.1f}, {high:+.1f}]."


def rule(name: str, max_recall_loss: float) -> str:
    """Write the rule of `cells.py` for readers of the report."""
    return (
        "After a quarter, a half and all of them a cell is dropped if it changes no answer, if even the optimistic end "
        f"of its 95 % interval against off is worse than the pessimistic end of the best cell's (or than off), or if "
        f"even the optimistic end of its change of recall is a loss of more than {max_recall_loss:g} points. Chosen is "
        f"the best {name} among the cells that remain, are better than off and lose at most {max_recall_loss:g} points "
        "of recall. The result is measured on the other half of the pictures, which took no part in this."
    )


def write_config(found: Outcome, task: str, model: str, path: Path) -> None:
    """Write the chosen setting as the server's defaults: commented out if it did not hold, and no file without one."""
    if found.chosen is None:
        path.unlink(missing_ok=True)  # an earlier run with a smaller grid may have left it
        return
    head = [
        f"Defaults found by `eah-vllm sweep {task}` for {model}, {datetime.now(UTC).date().isoformat()}.",
        *textwrap.wrap(found.told, 110, break_long_words=False),
    ]
    methods = {name: dict(options) for name, options in found.chosen.methods.items()}
    eah = dict(found.chosen.eah or {}) | ({"methods": [EAH, *methods]} if methods else {})
    settings = {"served-model-name": model, "additional-config": {"eah": eah, **methods}}
    body = yaml.safe_dump(settings, sort_keys=False)
    if found.helps:
        switch = ", ".join(f"`{name}: true`" for name in found.chosen.reports)
        head += [f"Use: `eah-vllm serve MODEL --config config.yaml`; it sets what {switch} means, for every request."]
    else:
        head += ["Not recommended, so commented out:"]
        body = textwrap.indent(body, "# ")
    path.write_text("".join(f"# {line}\n" for line in head) + body, encoding="utf-8")


def _cell(cell: Measured, is_chosen: bool) -> dict[str, Any]:
    return {
        "setting": cell.place.setting.name,
        "row": cell.place.row,
        "column": cell.place.column,
        "units": cell.units,
        "difference": _interval(cell.main),
        "recall_difference": _interval(cell.recall),
        "changed_answers": cell.changed,
        "dropped": cell.dropped,
        "chosen": is_chosen,
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"value": round(found.value, 4), "ci95": [round(found.low, 4), round(found.high, 4)]}
