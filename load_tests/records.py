"""Records of what became of each request, whichever tool sent it, and their form as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FINISHED, GAVE_UP, REFUSED, FAILED = "finished", "gave up", "refused", "failed"
"""Outcomes: answered; given up by its client as planned; a 503 with Retry-After; anything else."""


@dataclass(slots=True)
class Record:
    """What became of one request. Times are in seconds; `start` is on the tool's own clock."""

    ask: int
    """Place of the request in the plan."""
    outcome: str
    start: float = 0.0
    ttft: float = 0.0
    """Time to the first event with a choice, as in `vllm bench serve`; 0 for an answer that is not streamed."""
    latency: float = 0.0
    """Time to the last such event, or to the whole answer."""
    itl: list[float] = field(default_factory=list)
    """Times between such events."""
    tokens: int = 0
    text: str = ""
    report: dict[str, Any] | None = None
    """The answer's `eah`; None also where the tool does not keep it."""
    verify: dict[str, Any] | None = None
    """The answer's `verify`."""
    error: str = ""
    """Kind of failure or of refusal; empty where there was none."""


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Write one JSON object a line, without the times between tokens."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            fields = {name: value for name, value in asdict(record).items() if name != "itl"}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> list[Record]:
    """Read the records that the Locust process wrote."""
    with path.open(encoding="utf-8") as file:
        return [Record(**json.loads(line)) for line in file]
