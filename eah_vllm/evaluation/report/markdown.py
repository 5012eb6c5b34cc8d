"""Writes `table.md`: the settings of a run in two tables of Markdown, figures, and differences with what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "table.md"
Row = Mapping[str, Any]
_CAPTION_FIGURES = (("chairs", "CHAIRs"), ("chairi", "CHAIRi"), ("recall", "recall"), ("words", "words"))
_YES_NO_FIGURES = (("f1", "F1"), ("accuracy", "accuracy"), ("yes_ratio", "says yes"))


def write_table(rows: Sequence[Row], cost: Mapping[str, Any] | None, out: Path) -> None:
    """Write the tables of a run.

    Args:
        rows: the rows that `summarize` returned, the one that others are compared with first.
        cost: what `measure_cost` returned; None where it was not measured.
        out: folder of the run.
    """
    parts = [_table(_figures(rows)), _table(_differences(rows, cost))]
    (out / FILE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _has_captions(rows: Sequence[Row]) -> bool:
    return "chairs" in rows[0]["ci95"]


def _figures(rows: Sequence[Row]) -> list[list[str]]:
    captions = _has_captions(rows)
    columns = _CAPTION_FIGURES if captions else _YES_NO_FIGURES
    yes_no = captions and any(_accuracy(row) for row in rows)
    lines = [
        ["setting", *(title for _, title in columns), "mended / spoiled", *(["yes/no accuracy"] if yes_no else [])]
    ]
    for row in rows:
        line = [_name(row), *(_figure(row, name) for name, _ in columns), f"{row['mended']} / {row['spoiled']}"]
        lines.append(line + ([_figure(_accuracy(row), "accuracy")] if yes_no else []))
    return lines


def _differences(rows: Sequence[Row], cost: Mapping[str, Any] | None) -> list[list[str]]:
    """Return the table of differences from the first row; columns that no row fills are left out."""
    captions = _has_captions(rows)
    names = ("chairs", "recall") if captions else ("f1", "yes_ratio")
    titles = dict((*_CAPTION_FIGURES, *_YES_NO_FIGURES))
    head = [f"less {rows[0]['setting']}", *(titles[name] for name in names), "yes/no accuracy", "CHAIRs less its twin",
            "CHAIRs at the curve's recall", "recall at the curve's CHAIRs", "CHAIRs, equal length",
            "time per token, 1 at a time", "time per token, 16 at a time", "first token, ms more"]  # fmt: skip
    lines = []
    for row in rows[1:]:
        sooner = row.get("against_sooner") or {}
        matched = row["length_matched"] or {"difference": {}}
        twin = row.get("against", {}).get(row["twin"], {})
        lines.append(
            [
                _name(row),
                *(_change(row["difference"].get(name)) for name in names),
                _change((_accuracy(row) or {"difference": {}})["difference"].get("accuracy")) if captions else "",
                _change(twin.get("chairs")),
                _change(sooner.get("chairs_at_equal_recall")),
                _change(sooner.get("recall_at_equal_chairs")),
                _change(matched["difference"].get("chairs")),
                *_costs((cost or {}).get("settings", {}).get(row["setting"])),
            ]
        )
    filled = [number for number in range(len(head)) if any(line[number] for line in lines)]
    return [[line[number] for number in filled] for line in [head, *lines]]


def _costs(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    ratios = [found["per_token"].get(str(at_once)) for at_once in (1, 16)]
    first = found["first_token_ms"].get("1")
    spelled = [f"{one['median']:.2f} ({one['min']:.2f} to {one['max']:.2f})" if one else "" for one in ratios]
    return [*spelled, f"{first['median']:+.1f} ({first['min']:+.1f} to {first['max']:+.1f})" if first else ""]


def _accuracy(row: Row) -> Row | None:
    found: Row | None = row["parts"].get("yes_no")
    return found if found is not None and found.get("accuracy") is not None else None


def _name(row: Row) -> str:
    drawn = row.get("draws")
    return str(row["setting"]) + (f", mean of {drawn['number']} draws" if drawn else "")


def _figure(row: Row | None, name: str) -> str:
    if row is None or row.get(name) is None:
        return ""
    drawn = (row.get("draws") or {}).get(name)
    low, high = row["ci95"][name]
    spread = f"; draws {drawn['min']:.1f} to {drawn['max']:.1f}" if drawn else ""
    return f"{row[name]:.1f}" + ("" if name == "words" else f" [{low:.1f}, {high:.1f}]{spread}")


def _change(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return ""
    low, high = change["ci95"]
    value = change.get("difference", change.get("value"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
