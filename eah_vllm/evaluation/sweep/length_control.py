"""Tunes captions that end sooner to the same recall: EAH must beat this control to be more than brevity."""

from __future__ import annotations

from collections.abc import Callable

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server, ask_all
from eah_vllm.evaluation.ask.setting import Setting, make_setting
from eah_vllm.evaluation.count.statistics import measure
from eah_vllm.evaluation.count.verdict import CLOSE_ENOUGH
from eah_vllm.evaluation.task import Task

TRIALS = 6
LARGEST_BIAS = 8.0


def tune_end_bias(server: Server, task: Task, target: Setting, answers: AnswerFile) -> Setting:
    """Return EAH off with the bias on the end-of-text token that brings recall closest to that of `target`.

    This is a bisection: more bias means shorter captions and less recall. Each trial asks for all captions once, and
    like every kept answer they are never asked for again.
    """
    wanted = _recall(task, target, answers)

    def recall_at(bias: float) -> float:
        setting = make_setting(None, end_bias=bias)
        ask_all(server, task, [setting], answers, title=f"{task.name}: {setting.name}", groups=["caption"])
        return _recall(task, setting, answers)

    return make_setting(None, end_bias=_search(recall_at, wanted, _recall(task, make_setting(None), answers)))


def _search(recall_at: Callable[[float], float], wanted: float, unbiased: float) -> float:
    low, high = (0.0, LARGEST_BIAS) if wanted < unbiased else (-LARGEST_BIAS, 0.0)
    tried: dict[float, float] = {}
    for _ in range(TRIALS):
        # Recall falls quickly with small biases, so they are tried first.
        bias = round(low + (high - low) / 4, 3) if wanted < unbiased else round(high - (high - low) / 4, 3)
        tried[bias] = recall_at(bias)
        if abs(tried[bias] - wanted) <= CLOSE_ENOUGH:
            break
        low, high = (bias, high) if tried[bias] > wanted else (low, bias)
    return min(tried, key=lambda bias: abs(tried[bias] - wanted))


def _recall(task: Task, setting: Setting, answers: AnswerFile) -> float:
    tally = next(iter(task.tallies(answers.by_setting.get(setting.name, {})).values()))
    metric = next(metric for metric in tally.metrics if metric.name == "recall")
    value = measure(tally, metric)
    return 0.0 if value is None else value
