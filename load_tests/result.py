"""The result of a scenario, and whether its thresholds hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from load_tests.judge import Verdict
from load_tests.records import Record
from load_tests.scenario import Scenario

BUSY = 0.5
"""Processors that others may keep busy before bounds on times are no longer judged; the bounds have room for less."""


@dataclass
class Result:
    """The result of a scenario; `to_dict` gives the data of its JSON file."""

    scenario: Scenario
    figures: dict[str, float | None]
    verdict: Verdict
    steps: list[dict[str, float | None]]
    facts: dict[str, Any]
    memory: list[dict[str, float]]
    timeline: list[dict[str, float]]
    records: list[Record] = field(repr=False)
    builtin: bool = True

    @property
    def busy(self) -> bool:
        """Whether other processes kept the machine so busy that times say nothing about the server."""
        return (self.facts.get("cores_busy_with_others") or 0.0) > BUSY

    @property
    def thresholds(self) -> list[dict[str, Any]]:
        """Return every bound of the scenario's file with its figure, and whether it holds; None if it is not judged."""
        rows = []
        for name, bound in self.scenario.thresholds.items():
            if self.builtin or not bound.builtin_only:
                seen = self.figures.get(name)
                holds = None if bound.quiet_only and self.busy else bound.holds(seen)
                rows.append({"figure": name, "bound": str(bound), "seen": seen, "holds": holds})
        return rows

    @property
    def passed(self) -> bool:
        """Whether every bound that is judged holds."""
        return all(threshold["holds"] is not False for threshold in self.thresholds)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        return {
            "scenario": self.scenario.model_dump(mode="json", exclude_defaults=True),
            "passed": self.passed,
            "thresholds": self.thresholds,
            "figures": self.figures,
            "steps": self.steps,
            "failures": self.verdict.failures,
            "wrong": self.verdict.wrong,
            "facts": self.facts,
            "memory": self.memory,
            "timeline": self.timeline,
        }
