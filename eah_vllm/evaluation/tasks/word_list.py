"""CHAIR's list of words: which words name which COCO category.

The list is not ours and no copy of it is shipped: it is read from lmms-eval if installed, or from a file. The server
reads the same files, so nothing here needs NLTK.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from eah_vllm.evaluation.task import TaskError

INSTALL = (
    "CHAIR needs the field's list of words: `pip install --no-deps lmms-eval` (only one file of it is read), or "
    "--words FILE with data/synonyms.txt of github.com/LisaAnne/Hallucination"
)
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
"""After "baby" or "adult" these are animals, and no person is meant."""
READ_AS = {"passenger jet": "jet", "passenger train": "train", "toilet seat": "toilet", "bow tie": "tie"}
NO_OBJECT = ("home plate", "train track")
"""Pairs of words that name no object, although one of the words alone would."""


@dataclass(frozen=True)
class Words:
    """A list of words that name categories.

    Attributes:
        category_of: category by a word, or by two words with a space between them.
        pairs: pairs of words that are read as one word, and that word.
        source: where the list comes from; it is kept with the run.
    """

    category_of: Mapping[str, str]
    pairs: Mapping[str, str]
    source: str


def load_words(path: Path | None = None) -> Words:
    """Read the list of words of the installed lmms-eval, or a file: its `coco_cap_chair/utils.py` or a `synonyms.txt`.

    A `synonyms.txt` has one category a line: its name and its other words, with ", " between them.

    Raises:
        TaskError: there is no list, or it cannot be read.
    """
    source = str(path and path.name)
    if path is None:
        package = importlib.util.find_spec("lmms_eval")
        if package is None or package.origin is None:
            raise TaskError(INSTALL)
        path = Path(package.origin).parent / "tasks/coco_cap_chair/utils.py"
        source = f"lmms-eval {version('lmms-eval')}"
    try:
        text = path.read_text(encoding="utf-8")
        category_of, pairs = _read_python(text) if path.suffix == ".py" else _read_text(text)
    except (OSError, UnicodeDecodeError, SyntaxError, KeyError, ValueError) as error:
        raise TaskError(f"{path}: not a list of words ({error}). {INSTALL}") from None
    return Words(category_of, pairs, source)


def _read_python(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read two constants of lmms-eval's module without running it, as it imports half of lmms-eval's dependencies."""
    wanted = ("INVERSE_SYNONYM_DICT", "DOUBLE_WORD_DICT")
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted
    }
    return found[wanted[0]], found[wanted[1]]


def _read_text(text: str) -> tuple[dict[str, str], dict[str, str]]:
    rows = [line.strip().split(", ") for line in text.splitlines() if line.strip()]
    if not rows or max(map(len, rows)) < 2:
        raise ValueError("no line of the form `category, word, word`")
    category_of = {word: row[0] for row in rows for word in row}
    pairs = {word: word for word in (*map(str.strip, category_of), *NO_OBJECT) if word.count(" ") == 1}
    pairs |= {f"{age} {animal}": animal for age in ("baby", "adult") for animal in ANIMALS}
    return category_of, pairs | READ_AS
