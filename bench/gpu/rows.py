"""What a phase of the check finds: rows with a verdict, in a JSON file that is complete after each of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

STAND_IN = bool(os.environ.get("FAKE_GPU"))
"""Whether the CUDA runtime is the stand-in of `bench/gpu/dry`, whose kernels compute nothing."""
NOTHING_COMPUTED = "the stand-in for a GPU computes nothing"


class Result:
    """The result of one phase; its file is written anew with each row, so a stopped phase leaves what it saw."""

    def __init__(self, file: Path, **facts: Any) -> None:
        self.file = file
        self.content: dict[str, Any] = {**facts, "rows": []}
        self.write()

    def write(self) -> None:
        """Write the file as a whole."""
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps(self.content) + "\n")
        unfinished.replace(self.file)

    def note(self, **facts: Any) -> None:
        """Add facts that have no verdict."""
        self.content |= facts
        self.write()

    def row(self, name: str, right: int, of: int, *, worst: float | None = None, allowed: float | None = None) -> None:
        """Add a comparison: it passed if there was something to compare and all of it was right.

        Args:
            name: What is compared.
            right: How many comparisons came out as they should.
            of: How many there were.
            worst: The largest difference that was seen.
            allowed: The largest difference that is allowed.
        """
        if STAND_IN:
            self.unchecked(name, NOTHING_COMPUTED)
            return
        passed = of > 0 and right == of
        self._add({"check": name, "passed": passed, "right": right, "of": of, "worst": worst, "allowed": allowed})

    def unchecked(self, name: str, why: str) -> None:
        """Add a comparison that this machine cannot make. It is never counted as passed."""
        self._add({"check": name, "passed": None, "why": why})

    def _add(self, row: dict[str, Any]) -> None:
        print("ROW", row, flush=True)
        self.content["rows"].append(row)
        self.write()

    @property
    def failed(self) -> bool:
        """Whether any comparison came out wrong."""
        return any(row["passed"] is False for row in self.content["rows"])
