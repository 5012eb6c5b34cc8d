"""`bench/results.json`: the rounds as measured, the figures made from them, and the machine and versions."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.provenance import commit, machine, versions

STARTED = time.monotonic()
WRITTEN = ("bench/results.json", "docs/benchmarks.md")
"""Files that the command itself changes."""


def say(text: str) -> None:
    """Print progress, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


def rotated(settings: Sequence[str], by: int) -> list[str]:
    """Return the same settings in rotated order, so that none is always first."""
    by %= len(settings)
    return [*settings[by:], *settings[:by]]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the least, the most and the number of values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


class Part:
    """The rounds, figures and facts of one part of the benchmark."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figures: dict[str, dict[str, float]] = {}
        self.rounds: dict[str, list[dict[str, Any]]] = {}
        self.facts: dict[str, Any] = {}

    def add_round(self, group: str, row: dict[str, Any]) -> None:
        """Keep one round: what was measured in it for each setting."""
        self.rounds.setdefault(group, []).append(row)

    def figure(self, name: str, group: str, of_round: Callable[[dict[str, Any]], float]) -> None:
        """Make a figure from every round of a group; a ratio is always of two values of the same round."""
        self.figures[name] = summary([of_round(row) for row in self.rounds[group]])


def write(path: Path, part: Part, arguments: Sequence[str], *, quick: bool) -> None:
    """Merge a part into the results; other parts keep their figures, each with its own date and commit."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results.setdefault("figures", {}).update(part.figures)
    run = {
        "command": "python -m bench " + " ".join(arguments),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "quick": quick,
        "commit": commit(WRITTEN),
        "machine": machine(),
        "versions": versions(),
    }
    results.setdefault("parts", {})[part.name] = {"run": run, "facts": part.facts, "rounds": part.rounds}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(_rounded(results), indent=1) + "\n")
    unfinished.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
