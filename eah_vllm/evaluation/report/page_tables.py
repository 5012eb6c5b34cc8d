"""The tables of the report's page, in the form that its template wants."""

from collections.abc import Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.report import tables

PARTS_SHOWN = ("accuracy", "f1", "yes_ratio")


def columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return heading and meaning of the main table's columns."""
    found = [(tables.TITLES.get(name, name), tables.MEANINGS.get(name, "")) for name in _shown(rows)]
    if has_captions(rows):
        found.insert(1, ("CHAIRs, equal length", "each pair of captions cut to as many words as the shorter has"))
    return found


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in tables.metric_names(rows) if name not in tables.IN_DETAILS_ONLY]


def main_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the main table; the first is the one that the others are compared with."""
    shown = _shown(rows)
    return [_main_row(row, shown, first=number == 0) for number, row in enumerate(rows)]


def _main_row(row: Mapping[str, Any], shown: Sequence[str], *, first: bool) -> dict[str, Any]:
    cells = [tables.figure(row, name, baseline=first) for name in shown]
    if "chairs" in shown:
        cells.insert(1, tables.Figure("") if first else tables.length_matched(row, "chairs"))
    changed = "" if first else f"{row['mended']} / {row['spoiled']}"
    return {"cells": cells, "changed": changed, "applied": tables.applied(row)}


def has_captions(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the run is one of captions, not of yes/no questions."""
    return "chairs" in rows[0]["ci95"]


def parts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make one table per metric of yes/no questions, with settings as rows and parts as columns."""
    names = list(rows[0]["parts"])
    return [
        {
            "metric": tables.TITLES[metric],
            "meaning": tables.MEANINGS[metric],
            "names": [name.replace("yes_no", "all").replace("_", " ") for name in names],
            "rows": [
                [tables.figure(row["parts"][name], metric, baseline=number == 0) for name in names]
                for number, row in enumerate(rows)
            ],
        }
        for metric in PARTS_SHOWN
        if any(metric in rows[0]["parts"][name]["ci95"] for name in names)
    ]


def details(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make the table of every metric of every setting: value, interval, spread over the splits."""
    found = []
    for row in rows:
        for name in tables.metric_names([row]):
            low, high = row["ci95"][name]
            mean, deviation = row["spread"].get(name, (None, None))
            drawn = row.get("draws", {}).get(name)
            found.append(
                {
                    "setting": row["setting"],
                    "metric": tables.TITLES.get(name, name),
                    "value": f"{row[name]:.2f}",
                    "interval": f"[{low:.2f}, {high:.2f}]",
                    "spread": tables.NOTHING if mean is None else f"{mean:.2f} ± {deviation:.2f}",
                    "draws": f"{drawn['min']:.2f} to {drawn['max']:.2f} (± {drawn['deviation']:.2f})" if drawn else "",
                }
            )
    return found
