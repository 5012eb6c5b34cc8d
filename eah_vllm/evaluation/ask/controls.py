"""Asks for controls: other heads, random twins, and captions that merely end sooner."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server, ask_all
from eah_vllm.evaluation.ask.server_facts import server_facts
from eah_vllm.evaluation.ask.setting import CONTROL_HEADS, OFF, Setting, make_setting
from eah_vllm.evaluation.task import Task, caption_groups

BIASES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
"""What is added to the logit of the end of text, from a few words less to little more than the first sentence."""
_LOG = logging.getLogger(__name__)


def controls(settings: Sequence[Setting]) -> list[Setting]:
    """Return, for each setting that lets EAH choose, the settings with another rule for the head."""
    return _controls(settings, CONTROL_HEADS)


def fixed_heads(settings: Sequence[Setting], num_heads: int) -> list[Setting]:
    """Return every fixed head in turn, for each setting that lets EAH choose: they bound what any choice can do."""
    return _controls(settings, range(num_heads))


def twins(settings: Sequence[Setting]) -> list[Setting]:
    """Return the random twins of settings with other methods than EAH."""
    found = dict.fromkeys(one.twin for one in settings if one.methods)
    return [twin for twin in found if twin is not None and twin not in settings]


def curve_settings() -> list[Setting]:
    """Return the curve of captions that end sooner: all off, with each of the biases; off itself is its first point."""
    return [make_setting(None, end_bias=bias) for bias in BIASES]


def curve_of(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings that are points of the curve, sooner ends later; none unless off and all biases are there."""
    found = sorted((one for one in settings if one.is_plain), key=lambda one: one.end_bias)
    return found if {OFF, *(one.name for one in curve_settings())} <= {one.name for one in found} else []


def ask_fixed_heads(
    server: Server, task: Task, settings: Sequence[Setting], answers: AnswerFile, out: Path
) -> list[Setting]:
    """Ask with every head of the layer as the fixed head of all pictures, and return these settings.

    They are asked for captions only, where the task has captions. A server that does not say how many heads its model
    has (`GET /v1/eah`) is not asked.

    Raises:
        AskError: see `ask_all`.
    """
    if not any(setting.lets_eah_choose for setting in settings):
        return []
    num_heads = server_facts(server, out).get("num_heads")
    if num_heads is None:
        _LOG.warning("no rows of fixed heads: %s/eah does not say how many heads there are", server.base_url)
        return []
    found = fixed_heads(settings, int(num_heads))
    ask_all(server, task, found, answers, title=f"{task.name}: fixed heads", groups=caption_groups(task))
    return found


def ask_twins(server: Server, task: Task, settings: Sequence[Setting], answers: AnswerFile) -> list[Setting]:
    """Ask for the random twins of settings with other methods than EAH, captions only where the task has captions.

    Raises:
        AskError: see `ask_all`.
    """
    found = twins(settings)
    ask_all(server, task, found, answers, title=f"{task.name}: random twins", groups=caption_groups(task))
    return found


def ask_curve(server: Server, task: Task, settings: Sequence[Setting], answers: AnswerFile) -> list[Setting]:
    """Ask for the curve of captions that end sooner, if there is a setting to compare with it, and return its points.

    Those are settings that are verified, or have other methods than EAH.

    Raises:
        AskError: see `ask_all`.
    """
    compared = any(one.verify is not None or one.methods for one in settings)
    if not compared or caption_groups(task) is None or make_setting(None) not in settings:
        return []
    if server.end_token_id is None:
        _LOG.warning("no curve of captions that end sooner: --end-token-id is not given")
        return []
    curve = [one for one in curve_settings() if one not in settings]
    ask_all(server, task, curve, answers, title=f"{task.name}: sooner ends", groups=caption_groups(task))
    return curve


def _controls(settings: Sequence[Setting], heads: Iterable[str | int]) -> list[Setting]:
    choosing = [setting for setting in settings if setting.lets_eah_choose]
    found = dict.fromkeys(setting.control(head) for setting in choosing for head in heads)
    return [setting for setting in found if setting not in settings]
