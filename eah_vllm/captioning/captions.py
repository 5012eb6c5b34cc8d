"""The file of captions: one JSON line a picture, written at once, so that whatever ends a run loses no caption."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.ask.answers import RunError, check_run, whole_lines

Line = Mapping[str, Any]


class CaptionFile:
    """A file of JSON lines, and beside it `NAME.run.json` with what makes two runs the same.

    Args:
        path: the file; it is made if it does not exist, and so is its folder.
        run: model, prompt and options of the run.

    Raises:
        RunError: the file belongs to another run, or a line in its middle cannot be read.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_run(path.with_name(path.name + ".run.json"), run)
        self.path = path
        self.lines: dict[str, Line] = {}
        for number, line in enumerate(whole_lines(path), 1):
            try:
                fields = json.loads(line)
                self.lines[str(fields["path"])] = fields
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path}: line {number} is not a caption ({error}); repair or delete it") from None
        self._file = path.open("ab")

    def add(self, line: Line) -> None:
        """Keep one caption; it is written to the file before it counts."""
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self.lines[str(line["path"])] = line

    def forget_errors(self) -> None:
        """Take the lines of pictures that have no caption out of the file, so that these are asked about again."""
        self.lines = {path: line for path, line in self.lines.items() if line["error"] is None}
        self._file.close()
        temporary = self.path.with_name(self.path.name + ".tmp")
        with temporary.open("wb") as file:
            for line in self.lines.values():
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._file = self.path.open("ab")

    def close(self) -> None:
        """Write everything to the disk and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def made_line(path: str, reply: Any) -> dict[str, Any]:
    """Return the line of a picture that has a caption.

    `mentions` and what follows it are there only if the caption was checked: `verdicts` counts the mentions by verdict,
    `denied` names the objects that the model denies, `original` is the caption before it was rewritten, and
    `unchecked` says why there was no check.
    """
    choice, more = reply.choices[0], reply.model_extra or {}
    line: dict[str, Any] = {
        "path": path,
        "text": choice.message.content,
        "finish_reason": choice.finish_reason,
        "error": None,
    }
    if more.get("eah") is not None:
        line["eah"] = more["eah"]
    checked = more.get("verify")
    if checked is not None:
        mentions = checked.get("mentions") or []
        line |= {
            "mentions": mentions,
            "verdicts": dict(Counter(str(mention["verdict"]) for mention in mentions)),
            "denied": checked.get("denied") or [],
            "original": checked.get("original"),
            "unchecked": checked.get("error") or checked.get("reason"),
        }
    return line


def bad_line(path: str, error: str) -> dict[str, Any]:
    """Return the line of a picture that has no caption."""
    return {"path": path, "text": None, "finish_reason": None, "error": error}


def summary(lines: Iterable[Line]) -> dict[str, int]:
    """Count captions, skipped pictures, and of the captions those that were cut, changed, or left unchecked."""
    found = Counter({name: 0 for name in ("captions", "skipped", "cut", "changed", "denied", "unchecked")})
    for line in lines:
        if line["error"] is not None:
            found["skipped"] += 1
            continue
        found["captions"] += 1
        found["cut"] += line["finish_reason"] == "length"
        found["denied"] += len(line.get("denied") or ())
        found["changed"] += line.get("original") is not None and line["original"] != line["text"]
        found["unchecked"] += line.get("unchecked") is not None
    return dict(found)
