"""Sleep mode: vLLM has none on CPU, and says so; its sleep call changes nothing there, also for EAH."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Engine, Spare


def test_vllm_refuses_sleep_mode_on_cpu(gqa_checkpoint: Path, spare: Spare) -> None:
    with pytest.raises(RuntimeError, match="Sleep mode is not supported on current platform"):
        spare.serving(gqa_checkpoint, enable_sleep_mode=True)


def test_answers_after_sleep_are_those_before(gqa_engine: Engine) -> None:
    images = [random_image(950)]
    before = [gqa_engine.one(IMAGE_PROMPT, images, eah) for eah in (EAH, None)]
    assert before[0].tokens != before[1].tokens, "EAH had no effect here"
    gqa_engine.sleep()
    gqa_engine.wake_up()
    after = [gqa_engine.one(IMAGE_PROMPT, images, eah) for eah in (EAH, None)]
    assert [answer.tokens for answer in after] == [answer.tokens for answer in before]
    assert [answer.first_logprobs for answer in after] == [answer.first_logprobs for answer in before]
