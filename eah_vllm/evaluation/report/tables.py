"""The report's tables: figures as they are printed, each with its difference and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from eah_vllm.evaluation.ask.setting import CONTROL_HEADS, Setting
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE

Row = Mapping[str, Any]

NOTHING, TIMES, MINUS = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"

TITLES = {
    "chairs": "CHAIRs", "chairi": "CHAIRi", "recall": "Recall", "coverage": "Coverage", "words": "Words",
    "accuracy": "Accuracy", "precision": "Precision", "f1": "F1", "yes_ratio": "Says yes",
}  # fmt: skip
MEANINGS = {
    "chairs": "captions that name at least one object that is not in the picture, % (lower is better)",
    "chairi": "named objects that are not in the picture, % (lower is better)",
    "recall": "objects in the picture that are named; for yes/no questions, right answers where yes is right, %",
    "coverage": "recall averaged over captions, %",
    "words": "mean length of a caption",
    "accuracy": "right answers, %",
    "precision": "of the answers “yes”, those that are right, %",
    "f1": "harmonic mean of precision and recall, %",
    "yes_ratio": "answers “yes”, %; half of the questions ask for one",
}
IN_DETAILS_ONLY = ("coverage", "precision")


@dataclass(frozen=True)
class Figure:
    """A figure as it is printed: its value, the line below it, and what that line means."""

    value: str
    below: str = ""
    taken: str = ""
    """`better`, `worse`, `changed`, `none` (no difference seen), or empty."""
    draws: str = ""
    """The number of draws of which the value is the mean, and the smallest and largest of them."""


def letters(settings: Sequence[Setting]) -> dict[str, str]:
    """Return a letter for each setting, by name, under which tables, plots and examples show it."""
    return {setting.name: _letter(number) for number, setting in enumerate(settings)}


def kind(setting: Setting) -> str:
    """Return a setting's kind in plots: `off`, `eah`, `control` (random, sparsest), `fixed` (head), `length` (control).

    Another method than EAH is shown as EAH is. Verified captions are `verify`, and those that lost as many objects at
    random `removal`.
    """
    if setting.verify is not None:
        return "removal" if setting.removal else "verify"
    if setting.end_bias:
        return "length"
    if setting.is_plain:
        return "off"
    if setting.methods:
        return "eah" if setting.twin else "control"
    if setting.fixed_head is not None:
        return "fixed"
    return "control" if (setting.eah or {}).get("head") in CONTROL_HEADS else "eah"


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of which any row has a figure, in the task's order."""
    return list(dict.fromkeys(name for row in rows for name in row["ci95"]))


def figure(row: Row, name: str, *, baseline: bool) -> Figure:
    """Format a metric of a row: the baseline with its own interval, others with the difference from it."""
    value = row.get(name)
    if value is None:
        return Figure(NOTHING)
    if baseline:
        low, high = row["ci95"][name]
        return Figure(number(value), f"[{number(low)}, {number(high)}]")
    return Figure(number(value), *said(row["difference"].get(name)), draws=over_draws(row, name))


def over_draws(row: Row, name: str) -> str:
    """Format the spread of a metric over the draws of a random head."""
    found = row.get("draws", {}).get(name)
    if found is None:
        return ""
    return f"mean of {row['draws']['number']} draws: {number(found['min'])} to {number(found['max'])}"


def said(difference: Mapping[str, Any] | None) -> tuple[str, str]:
    """Format a difference with its interval, and say what it means."""
    if difference is None:
        return "", ""
    low, high = difference["ci95"]
    verdict = str(difference["verdict"])
    # An interval that does not hold 0 must not be rounded to one that seems to.
    digits = 2 if verdict != NO_DIFFERENCE and "0.0" in (signed(low), signed(high)) else 1
    told = f"{signed(difference['value'], digits)} [{signed(low, digits)}, {signed(high, digits)}]"
    if verdict == NO_DIFFERENCE:
        return told, "none"
    return told, verdict.rpartition(", ")[2] if ", " in verdict else "changed"


def length_matched(row: Row, name: str) -> Figure:
    """Format a metric with each pair of captions cut to the shorter one's length, and the baseline cut the same way."""
    matched = row["length_matched"]
    if not matched or matched.get(name) is None:
        return Figure(NOTHING)
    return Figure(number(matched[name]), *said(matched["difference"].get(name)))


def applied(row: Row) -> Figure:
    """Format the share of answers with the methods applied, and why they were not applied in the others."""
    found = row["applied"]
    if not found:
        return Figure(NOTHING)
    reasons = ", ".join(
        f"{count} {TIMES} {reason.replace('_', ' ')}" for reason, count in sorted(found["reasons"].items())
    )
    return Figure(f"{100 * found['share']:.1f} %", reasons)


def heads_used(row: Row) -> str:
    """List by layer the heads whose maps were used, and for how many answers."""
    layers = (row["applied"] or {}).get("heads", {})
    return "; ".join(
        f"layer {layer}: " + ", ".join(f"{head} {TIMES} {count}" for head, count in heads.items())
        for layer, heads in layers.items()
    )


def number(value: float) -> str:
    """Format a number with one decimal and a real minus sign."""
    return f"{value:.1f}".replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """Format a number with its sign; one that rounds to zero has none."""
    return f"{0:.{digits}f}" if round(value, digits) == 0 else f"{value:+.{digits}f}".replace("-", MINUS)


def _letter(number: int) -> str:
    first, last = divmod(number, len(ascii_uppercase))
    return (ascii_uppercase[first - 1] if first else "") + ascii_uppercase[last]
