"""POPE's questions (arXiv 2305.10355) as counts per picture, independent of who asks them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from eah_vllm.evaluation.task import Metric, Tally

COLUMNS = ("true_yes", "false_yes", "true_no", "false_no")
_ALL = dict.fromkeys(COLUMNS, 1.0)
METRICS = (
    Metric("accuracy", {"true_yes": 1, "true_no": 1}, _ALL, lower_is_better=False),
    Metric("precision", {"true_yes": 1}, {"true_yes": 1, "false_yes": 1}, lower_is_better=False),
    Metric("recall", {"true_yes": 1}, {"true_yes": 1, "false_no": 1}, lower_is_better=False),
    Metric("f1", {"true_yes": 2}, {"true_yes": 2, "false_yes": 1, "false_no": 1}, lower_is_better=False),
    Metric("yes_ratio", {"true_yes": 1, "false_yes": 1}, _ALL),
)


def says_no(answer: str) -> bool:
    """Apply POPE's own rule: an answer is "no" when its first sentence has the word "no" or "not", else "yes".

    As in `evaluate.py` of github.com/AoiDragon/POPE, the sentence is the text up to the first full stop, without commas
    and split at spaces.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "No" in words or "not" in words or "no" in words


def strict_answer(answer: str) -> str | None:
    """Return yes or no if the answer begins with it, else None; this is a check of what the rule above decides."""
    found = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    return found[1].lower() if found else None


def tally_yes_no(answers: Iterable[tuple[str, bool, str]]) -> Tally:
    """Count answers by unit; an answer is given as (unit, whether yes is right, answer)."""
    rows: dict[str, list[int]] = {}
    for unit, yes_is_right, answer in answers:
        said_yes = not says_no(answer)
        column = COLUMNS.index(f"{'true' if said_yes == yes_is_right else 'false'}_{'yes' if said_yes else 'no'}")
        rows.setdefault(unit, [0] * len(COLUMNS))[column] += 1
    counts = np.array(list(rows.values()), dtype=np.float64).reshape(len(rows), len(COLUMNS))
    wrong = counts[:, COLUMNS.index("false_yes")] + counts[:, COLUMNS.index("false_no")]
    return Tally(tuple(rows), COLUMNS, counts, METRICS, wrong)
