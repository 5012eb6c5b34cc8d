"""`eval pope`: asks "is there a ... in the image?", from POPE's own files of questions (arXiv 2305.10355)."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eah_vllm.evaluation.count.yes_no import COLUMNS, says_no, strict_answer, tally_yes_no
from eah_vllm.evaluation.task import Answer, Metric, Question, Tally, Task, TaskError
from eah_vllm.evaluation.tasks.coco import check_image

SPLITS = ("random", "popular", "adversarial")
MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
UNCLEAR = Metric("unclear", {"unclear": 1}, dict.fromkeys(COLUMNS, 1.0), lower_is_better=True)


class PopeTask(Task):
    """POPE's questions about pictures in a folder.

    Args:
        images: folder of the pictures that the questions name as `image`.
        files: files of questions by the name of the split.
        suffix: text that is added to each question, for example LLaVA's request for a single word.
        max_tokens: most tokens that an answer may have.

    Raises:
        TaskError: a line is not a question, occurs twice, or names a picture that is not in the folder.
    """

    name = "pope"

    def __init__(self, images: Path, files: Mapping[str, Path], *, suffix: str = "", max_tokens: int = 10) -> None:
        if max_tokens < 1:
            raise TaskError(f"pope: max-tokens must be 1 or more, got {max_tokens}")
        self._images, self._splits = images, tuple(files)
        self._questions: list[Question] = []
        self._yes_is_right: dict[str, bool] = {}
        checked: set[str] = set()
        for split, file in files.items():
            for place, asked in _lines(file):
                id_ = f"{split}/{asked['question_id']}"
                if id_ in self._yes_is_right:
                    raise TaskError(f"{place}: question_id {asked['question_id']} is there twice")
                if asked["image"] not in checked:
                    _check_named(images, asked["image"], place)
                    checked.add(asked["image"])
                self._yes_is_right[id_] = asked["label"] == "yes"
                self._questions.append(Question(id_, asked["image"], split, asked["text"] + suffix, max_tokens))
        sums = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in files.items()}
        self._identity = {"task": self.name, "questions": sums, "suffix": suffix, "max_tokens": max_tokens}

    def questions(self) -> Sequence[Question]:
        """Return the questions, split after split, in the order of the files."""
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the file as it is."""
        return (self._images / unit).read_bytes(), MEDIA_TYPES[Path(unit).suffix.lower()]

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Count `yes_no` (all splits together) and each split, by POPE's rule.

        `unclear` counts answers that do not begin with the word for which the rule takes them.
        """
        said = [
            (q.group, (q.unit, self._yes_is_right[q.id], answers[q.id].text))
            for q in self._questions
            if q.id in answers
        ]
        kinds = {split: _tally([one for group, one in said if group == split]) for split in self._splits}
        return {"yes_no": _tally([one for _, one in said]), **kinds}

    def identity(self) -> Mapping[str, Any]:
        """Return the splits with their files' checksums, and what is added to the questions."""
        return self._identity


def _tally(said: Sequence[tuple[str, bool, str]]) -> Tally:
    tally = tally_yes_no(said)
    row_of = {unit: row for row, unit in enumerate(tally.units)}
    unclear = np.zeros((len(row_of), 1))
    for unit, _, text in said:
        unclear[row_of[unit]] += strict_answer(text) != ("no" if says_no(text) else "yes")
    counts = np.concatenate([tally.counts, unclear], axis=1)
    return replace(tally, columns=(*tally.columns, "unclear"), counts=counts, metrics=(*tally.metrics, UNCLEAR))


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the questions of a file, each with its place in the file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"questions: {file}: {error}") from None
    if not any(line.strip() for line in lines):
        raise TaskError(f"{file}: no question in it")
    for number, line in enumerate(lines, 1):
        place = f"{file}, line {number}"
        if not line.strip():
            continue
        try:
            asked = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{place}: not JSON ({error})") from None
        if not isinstance(asked, dict) or not isinstance(asked.get("question_id"), int | str):
            raise TaskError(f"{place}: must be an object with question_id, image, text and label")
        for name in ("image", "text", "label"):
            if not isinstance(asked.get(name), str) or not asked[name].strip():
                raise TaskError(f"{place}: {name!r} must be a text, got {asked.get(name)!r}")
        if asked["label"] not in ("yes", "no"):
            raise TaskError(f'{place}: \'label\' must be "yes" or "no", got {asked["label"]!r}')
        yield place, asked


def _check_named(images: Path, name: str, place: str) -> None:
    if Path(name).name != name or Path(name).suffix.lower() not in MEDIA_TYPES:
        raise TaskError(f"{place}: 'image' must be the name of a file of {', '.join(MEDIA_TYPES)}, got {name!r}")
    try:
        check_image(images / name)
    except TaskError as error:
        raise TaskError(f"{place}: {error}") from None


def split_of(text: str) -> tuple[str, Path]:
    """Read `random=FILE`, or a file whose name has the split in it, such as `coco_pope_random.json`.

    Raises:
        TaskError: the name holds no split, or more than one.
    """
    name, equals, file = text.partition("=")
    if equals and "/" not in name:
        return name, Path(file)
    found = [split for split in SPLITS if split in Path(text).name]
    if len(found) != 1:
        raise TaskError(f"--questions {text}: name the split, as in --questions random={text}")
    return found[0], Path(text)


def add_parser(tasks: Any) -> argparse.ArgumentParser:
    """Add the subcommand `pope`, with `make_task(args)` among its defaults.

    Args:
        tasks: what `ArgumentParser.add_subparsers` has returned.
    """
    parser: argparse.ArgumentParser = tasks.add_parser("pope", help="POPE's yes/no questions")
    parser.add_argument("--images", type=Path, required=True, help="folder of the questions' pictures")
    parser.add_argument(
        "--questions", nargs="+", required=True, metavar="[SPLIT=]FILE", help="coco_pope_random.json and the others"
    )
    parser.add_argument("--suffix", default="", help="added to every question")
    parser.add_argument("--max-tokens", type=int, default=10, help="tokens of an answer (default 10)")
    parser.set_defaults(make_task=_make)
    return parser


def _make(args: argparse.Namespace) -> PopeTask:
    named = [split_of(text) for text in args.questions]
    files = dict(named)
    if len(files) < len(named):
        raise TaskError(f"--questions: a split is there twice: {', '.join(split for split, _ in named)}")
    return PopeTask(args.images, files, suffix=args.suffix, max_tokens=args.max_tokens)
