"""Tokens of a video's frames count as image tokens, in a family that takes videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.checkpoints import random_image
from tests.engine.compare import report_of
from tests.engine.driver import Ask
from tests.models.conftest import Shared, serve
from tests.models.qwen_families import QWEN2_VL
from tests.models.test_families import EFFECT, TOKENS, assert_equal, difference, pictures

VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
EAH = {"layer": 1, "relative_threshold": 1.25}
ON_VIDEO = replace(QWEN2_VL, image_token="<|video_pad|>")


def frames(seed: int) -> np.ndarray:
    return np.stack([np.asarray(random_image(seed + idx, 56)) for idx in range(4)])


def test_a_videos_frames_count(ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(ours, ON_VIDEO, tmp_path_factory.mktemp("video"), limit_mm_per_prompt={"image": 1, "video": 1})
    prompt, video = f"USER: {VIDEO}\nPlease describe this image in detail. ASSISTANT:", frames(3)
    on, off = (served.reference.generate(prompt, [], eah, TOKENS, videos=[video]) for eah in (EAH, None))
    assert on.report[0].margin > 2e-6
    assert difference(on, off) > EFFECT
    asks = [
        Ask(prompt, videos=[video], eah=EAH | {"report": 1, "tag": "video"}, max_tokens=TOKENS),
        Ask(prompt, videos=[video], max_tokens=TOKENS),
    ]
    got_on, got_off = served.engine.generate(asks)
    assert_equal(got_on, on)
    assert_equal(got_off, off)
    found = on.report[0].as_report() | {"density": pytest.approx(on.report[0].density)}
    report = report_of(served.engine, "video")
    assert report == {"applied": True, "reason": None, "layers": [found], "modality": "video"}

    both = f"USER: {QWEN2_VL.image}\nand {VIDEO}\nWhat? ASSISTANT:"
    ask = Ask(both, pictures(0, 1), EAH | {"report": 1, "tag": "both"}, TOKENS, videos=[video])
    served.engine.generate([ask])
    assert report_of(served.engine, "both")["modality"] == "image, video"
