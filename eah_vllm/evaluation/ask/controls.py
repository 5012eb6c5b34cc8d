"""Asks under every fixed head in turn: controls with which a setting is compared, in addition to EAH off."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server, ask_all
from eah_vllm.evaluation.ask.server_facts import server_facts
from eah_vllm.evaluation.ask.setting import Setting, fixed_heads
from eah_vllm.evaluation.task import Task, caption_groups

_LOG = logging.getLogger(__name__)


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
