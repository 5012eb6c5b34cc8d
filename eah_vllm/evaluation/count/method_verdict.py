"""Says of each setting with another method than EAH what it did, and how it stands to its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE

Row = Mapping[str, Any]
_NAMES = {"chairs": "CHAIRs", "f1": "F1"}


def method_verdict(rows: Sequence[Row], settings: Sequence[Setting], main: str = "chairs") -> str:
    """Say it in a sentence for each such setting; nothing where there is none.

    Args:
        rows: the rows that `summarize` returned.
        settings: the settings of these rows.
        main: the main metric.
    """
    by_name = {row["setting"]: row for row in rows}
    twins = {one.twin.name for one in settings if one.twin is not None}
    asked = [one for one in settings if one.methods and one.verify is None and one.name not in twins]
    return " ".join(_sentence(by_name[one.name], one, by_name, main) for one in asked if one.name in by_name)


def _sentence(row: Row, setting: Setting, by_name: Mapping[str, Row], main: str) -> str:
    name = _NAMES.get(main, main)
    change = row["difference"].get(main)
    applied = row.get("applied") or {"share": 1.0}
    if change is None:
        return f"{setting.name} was not measured."
    if applied["share"] == 0:
        return f"{setting.name} was never applied: {', '.join(applied['reasons'])}."
    said = [f"{setting.name} changes {name} by {points(change)}"]
    if main == "chairs":
        said[0] += f", recall by {points(row['difference']['recall'])}"
    twin = by_name.get(setting.twin.name) if setting.twin is not None else None
    if twin is None:
        said.append("no random twin was asked")
    else:
        number = twin.get("draws", {}).get("number", 1)
        said.append(
            f"its random twin ({number} draws) changes it by {points(twin['difference'][main])}, so that the method "
            f"is {points(row['against'][twin['setting']][main])} off its twin"
        )
    sooner = (row.get("against_sooner") or {}).get("chairs_at_equal_recall")
    if sooner is not None:
        said.append(f"at the same recall it is {points(sooner)} off the curve of captions that end sooner")
    return "; ".join(said) + "."


def points(change: Mapping[str, Any]) -> str:
    """Write a difference with its interval, and whether one was seen."""
    value = change.get("difference", change.get("value"))
    low, high = change["ci95"]
    seen = f" ({NO_DIFFERENCE})" if low <= 0 <= high else ""
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]{seen}"
