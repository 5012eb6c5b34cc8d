"""POPE with POPE's own answer rule, for lmms-eval; needs eah-vllm installed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from eah_vllm.evaluation.count.statistics import measure
from eah_vllm.evaluation.count.yes_no import METRICS, tally_yes_no
from eah_vllm.evaluation.task import Metric

FAILED = "[LMMS_EVAL_"
"""How lmms-eval begins the "answer" of a request that failed: there is none, and it would be read as "yes"."""


def visual(doc: dict[str, Any]) -> list[Any]:
    """The question's picture."""
    return [doc["image"].convert("RGB")]


def text(doc: dict[str, Any]) -> str:
    """The question, with LLaVA's request for a single word."""
    return f"{doc['question'].strip()}\nAnswer the question using a single word or phrase."


def read(doc: dict[str, Any], results: Sequence[str]) -> dict[str, tuple[bool, str]]:
    """For each metric whether yes is right, and what was answered."""
    said = (doc["answer"].strip().lower() == "yes", results[0])
    return {f"eah_pope_{name}": said for name in (*(metric.name for metric in METRICS), "failed")}


def _measure(results: Sequence[tuple[bool, str]], metric: Metric) -> float | None:
    answered = [("all", yes_is_right, said) for yes_is_right, said in results if not said.startswith(FAILED)]
    return measure(tally_yes_no(answered), metric)


accuracy, precision, recall, f1, yes_ratio = (partial(_measure, metric=metric) for metric in METRICS)


def failed(results: Sequence[tuple[bool, str]]) -> int:
    """Requests without an answer, which the other figures leave out: with any, the run is not whole."""
    return sum(said.startswith(FAILED) for _, said in results)
