"""The answers of a run, one JSON line each. A kept answer is never asked for again, whatever ended the run before."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.task import Answer


class RunError(RuntimeError):
    """The folder holds another run, or a damaged one; the message says what differs."""


def check_run(path: Path, run: Mapping[str, Any]) -> None:
    """Keep in a file what makes two runs the same, or compare it with what an earlier run has kept there.

    Raises:
        RunError: another run was kept.
    """
    now: dict[str, Any] = json.loads(json.dumps(run))
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differs = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differs:
        told = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in differs)
        raise RunError(f"{path.parent} holds another run ({told}); choose another --out")


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file, none if it does not exist; half a line of a run that was killed is cut off."""
    if not path.exists():
        return []
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if len(kept) < len(whole):
        with path.open("r+b") as file:
            file.truncate(len(kept))
    return kept.splitlines()


class AnswerFile:
    """`answers.jsonl` and `run.json` in a folder.

    Args:
        folder: the folder; it is made if it does not exist.
        run: what makes two runs the same (task, model, seed). It is kept in `run.json`, and compared with one that is
           there already.

    Raises:
        RunError: the folder belongs to another run, or a line in the middle of the file cannot be read.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        check_run(folder / "run.json", run)
        self.path = folder / "answers.jsonl"
        self.by_setting: dict[str, dict[str, Answer]] = {}
        self._read()
        self._file = self.path.open("ab")

    def add(self, setting: str, question: str, answer: Answer) -> None:
        """Keep one answer; it is written to the file before it counts."""
        line = json.dumps({"setting": setting, "question": question, **asdict(answer)}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self.by_setting.setdefault(setting, {})[question] = answer

    def derive(self, setting: str, question: str, answer: Answer) -> None:
        """Keep one answer that was made from others, not asked for: it can be made again and is not written."""
        self.by_setting.setdefault(setting, {})[question] = answer

    def close(self) -> None:
        """Write everything to the disk and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _read(self) -> None:
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                fields = json.loads(line)
                setting, question = fields.pop("setting"), fields.pop("question")
                self.by_setting.setdefault(setting, {})[question] = Answer(**fields)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise RunError(f"{self.path}: line {number} is not an answer ({error}); repair or delete it") from None
