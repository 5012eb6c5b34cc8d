"""A run as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.run import Fuzz, Outcome

COLUMNS = ("sent", "2xx", "4xx", "5xx", "no answer", "violations")


def render(fuzz: Fuzz) -> str:
    """Counts by category, facts, and everything that is wrong."""
    rows: dict[str, Counter[str]] = {}
    for one in fuzz.outcomes:
        rows.setdefault(one.case.category, Counter()).update(
            ["sent", _class(one), *["violations"] * bool(one.violations)]
        )
    rows = dict(sorted(rows.items())) | {"all": sum(rows.values(), Counter())}
    lines = [f"{'':16}" + "".join(f"{name:>12}" for name in COLUMNS)]
    lines += [f"{name:16}" + "".join(f"{counts[column]:12}" for column in COLUMNS) for name, counts in rows.items()]
    lines += [f"{name}: {number:.4g}" for name, number in fuzz.facts.items()]
    return "\n".join([*lines, *(f"WRONG {line[:600]}" for line in fuzz.violations())]) + "\n"


def _class(one: Outcome) -> str:
    return "no answer" if one.status is None else f"{one.status // 100}xx"


def save(fuzz: Fuzz, path: Path, **more: Any) -> None:
    """Every case with what was expected and what came."""
    cases = [
        {
            "name": one.case.name,
            "category": one.case.category,
            "expect": one.case.expect,
            "why": one.case.why,
            "status": one.status,
            "seconds": round(one.seconds, 4),
            "message": one.message[:300],
            "peak_mib": round(one.peak, 1),
            "tracebacks": one.traces,
            "log_bytes": one.log_bytes,
            "violations": [line[:600] for line in one.violations],
        }
        for one in fuzz.outcomes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"facts": fuzz.facts, "problems": fuzz.problems, "cases": cases} | more
    path.write_text(json.dumps(document, indent=1))
