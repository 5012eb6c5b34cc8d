"""Writes the report's first sentences: what EAH did to the main figure, and which controls do as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.ask.setting import CONTROL_HEADS, Setting
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE, fixed_heads_of, rivals_of

Row = Mapping[str, Any]
CLOSE_ENOUGH = 0.3
"""Points of recall that captions that end sooner may lose against EAH."""
_NAMES = {"chairs": "CHAIRs", "f1": "F1"}


def verdict(rows: Sequence[Row], settings: Sequence[Setting], main: str = "chairs") -> str:
    """Say what EAH did to the main figure, and whether a control does as well.

    Args:
        rows: the rows that `summarize` returned.
        settings: the settings of these rows.
        main: the main metric: `chairs`, of which lower is better, or one of which higher is better.
    """
    by_name = {row["setting"]: row for row in rows}
    best = _best(by_name, settings, main)
    if best is None or rows[0].get(main) is None:
        return "No setting with a chosen head was measured."
    row, sign = by_name[best.name], _sign(main)
    applied = row.get("applied") or {"share": 1.0}
    if applied["share"] == 0:
        return f"EAH ({best.name}) was never applied: {', '.join(applied['reasons'])}."
    run = [name for name in rivals_of(best, settings) if name in by_name and by_name[name][main] is not None]
    ends_sooner = {setting.name for setting in settings if setting.end_bias}
    as_good = [
        _named(by_name[name], main)
        for name in run
        if sign * by_name[name][main] <= sign * row[main]
        and (name not in ends_sooner or _keeps_recall(by_name[name], row))
    ]
    if main == "chairs" and (kept := _kept_no_more(row)):
        as_good.append(kept)
    told = f"EAH ({best.name}) changes {_NAMES.get(main, main)} by {_points(row['difference'][main])}"
    if row["difference"][main]["verdict"] == NO_DIFFERENCE:
        told = f"No difference seen: {told}"
    more = _against_random(row, main) + _fixed_heads(rows, settings, best, main)
    if as_good:
        return f"A control does as well: {', '.join(as_good)}. {told}.{more}"
    missing = "" if len(run) >= len(CONTROL_HEADS) + (main == "chairs") else " Not every control was run."
    return f"{told}; no control does as well.{more}{missing}"


def _keeps_recall(control: Row, row: Row) -> bool:
    """Return whether captions that end sooner keep about as much recall; with less, they can have any CHAIRs."""
    return "recall" not in row or control["recall"] >= row["recall"] - CLOSE_ENOUGH


def _kept_no_more(row: Row) -> str:
    """Name the curve of captions that end sooner, if it was asked for and keeps as much recall at the same CHAIRs.

    CHAIRs at equal recall says less: where little recall is lost the curve is flat, and may not reach so far.
    """
    more = (row.get("against_sooner") or {}).get("recall_at_equal_chairs")
    if more is None or more["ci95"][0] > 0:
        return ""
    recall = {"value": more["difference"], "ci95": more["ci95"]}
    return f"captions that end sooner (at equal CHAIRs the recall of EAH less theirs is {_points(recall)})"


def _sign(main: str) -> int:
    return 1 if main == "chairs" else -1


def _best(by_name: Mapping[str, Row], settings: Sequence[Setting], main: str) -> Setting | None:
    """Return the best of the settings that let EAH choose, or of those with a fixed head if there are none."""
    with_eah = [s for s in settings[1:] if s.eah is not None and not s.methods and not s.end_bias]
    asked = [s for s in with_eah if by_name[s.name].get(main) is not None]
    chosen = [s for s in asked if s.lets_eah_choose] or [s for s in asked if s.fixed_head is not None]
    return min(chosen, key=lambda s: _sign(main) * by_name[s.name][main], default=None)


def _named(row: Row, main: str) -> str:
    """Name a control; a random head has the spread of its draws with it."""
    draws = row.get("draws")
    if not draws:
        return str(row["setting"])
    low, high = draws[main]["min"], draws[main]["max"]
    return f"{row['setting']}, {draws['number']} draws: mean {row[main]:.1f}, {low:.1f} to {high:.1f}"


def _points(change: Mapping[str, Any]) -> str:
    low, high = change["ci95"]
    return f"{change['value']:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _against_random(row: Row, main: str) -> str:
    """Say how much better the chosen head is than the mean over draws of a random head, paired by picture."""
    found = [change for name, change in row.get("against", {}).items() if "head=random" in name and main in change]
    if not found:
        return ""
    seen = f" ({NO_DIFFERENCE})" if found[0][main]["verdict"] == NO_DIFFERENCE else ""
    return f" The chosen head less a random one: {_points(found[0][main])}{seen}."


def _fixed_heads(rows: Sequence[Row], settings: Sequence[Setting], best: Setting, main: str) -> str:
    if not best.lets_eah_choose:
        return ""
    by_name = {row["setting"]: row for row in rows}
    heads = fixed_heads_of(best, settings)
    found = [by_name[name][main] for name in heads if by_name[name].get(main) is not None]
    if not found:
        return ""
    as_good = sum(_sign(main) * value <= _sign(main) * by_name[best.name][main] for value in found)
    return (
        f" With one fixed head for all pictures, {min(found):.1f} to {max(found):.1f}: "
        f"{as_good} of {len(found)} heads do as well."
    )
