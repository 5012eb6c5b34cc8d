"""What became of each request, whichever tool sent it; and the same as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FINISHED, GAVE_UP, REFUSED, FAILED = "finished", "gave up", "refused", "failed"
"""Answered; left by its client as planned; 503 that says when to come again (Retry-After); anything else."""


@dataclass(slots=True)
class Record:
    """One request. Times in seconds; `start` is on the tool's own clock."""

    ask: int
    """Its place in the plan."""
    outcome: str
    start: float = 0.0
    ttft: float = 0.0
    """To the first event of a stream that has a choice, as `vllm bench serve` counts; 0 for an answer in one piece."""
    latency: float = 0.0
    """To the last such event, or to the whole answer."""
    itl: list[float] = field(default_factory=list)
    """Between such events."""
    tokens: int = 0
    text: str = ""
    report: dict[str, Any] | None = None
    """The answer's `eah`; None also where the tool does not keep it."""
    error: str = ""
    """Kind of failure, or of refusal."""


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """One JSON object a line, without the gaps between tokens."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            fields = {name: value for name, value in asdict(record).items() if name != "itl"}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> list[Record]:
    """What the Locust process wrote."""
    with path.open(encoding="utf-8") as file:
        return [Record(**json.loads(line)) for line in file]
