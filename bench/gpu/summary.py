"""What all phases say together: the file that comes back, and comparisons between engines of different phases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.gpu.plan import EXACT, STOCK

ANSWERS = ("off", "on")
Found = Mapping[str, dict[str, Any]]


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Return what each phase has written so far, by its name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(results.glob("*.json"))}


def between_engines(found: Found, *, computed: bool) -> list[dict[str, Any]]:
    """Compare answers of engines: the plugin off with stock vLLM bit for bit, and graphs with eager.

    Args:
        found: What the phases wrote.
        computed: False with the stand-in for a GPU, where equal garbage is no finding.
    """
    pairs = [
        (STOCK, STOCK.replace("stock", "graphs"), "off", "EAH off = stock vLLM bit for bit, compiled, with graphs")
    ]
    for name in EXACT:
        if name.endswith("_graphs") and (eager := name.replace("_graphs", "_eager")) in EXACT:
            pairs.append((name, eager, "on", f"{name.removeprefix('exact_')} = eager, tokens"))
    rows = []
    for one, other, side, title in pairs:
        if side not in found.get(one, {}) or side not in found.get(other, {}):
            continue
        both = list(zip(found[one][side], found[other][side], strict=True))
        if not computed:
            rows.append({"check": title, "passed": None, "why": "the stand-in for a GPU computes nothing"})
            continue
        same = sum(a == b if side == "off" else a["tokens"] == b["tokens"] for a, b in both)
        # Another order of sums rounds otherwise, so in bfloat16 near-ties may fall the other way: a figure, no verdict.
        judged = side == "off" or EXACT[one][1] == "float32"
        rows.append({"check": title, "passed": same == len(both) if judged else None, "right": same, "of": len(both)})
    return rows


def combine(facts: Mapping[str, Any], phases: Mapping[str, dict[str, Any]], found: Found) -> dict[str, Any]:
    """Return everything that comes back, without the answers themselves."""
    results = {
        name: {key: value for key, value in content.items() if key not in ANSWERS} for name, content in found.items()
    }
    between = between_engines(found, computed=not facts["stand_in"])
    return {**facts, "phases": dict(phases), "between_engines": between, "results": results}


def lines(combined: Mapping[str, Any]) -> list[str]:
    """Return a line for each phase and each comparison that failed or could not be made."""
    told = [f"{name}: {phase['outcome']}, {phase['seconds']:.0f} s" for name, phase in combined["phases"].items()]
    rows = [(name, row) for name, found in combined["results"].items() for row in found.get("rows", ())]
    rows += [("between engines", row) for row in combined["between_engines"]]
    told.append(f"passed {sum(row['passed'] is True for _, row in rows)} comparisons")
    for name, row in rows:
        if row["passed"] is False:
            told.append(f"FAILED {name}: {row['check']}, {row['right']} of {row['of']}, worst {row.get('worst')}")
        elif row["passed"] is None:
            told.append(f"not judged {name}: {row['check']} ({row.get('why', str(row.get('right')) + ' equal')})")
    return told
