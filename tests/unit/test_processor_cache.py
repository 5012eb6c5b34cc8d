"""Every request carries its pictures to the engine, whatever became of the requests before it; vLLM's real renderer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from eah_vllm_server.processor_cache import send_pictures_each_time
from vllm.engine.arg_utils import EngineArgs
from vllm.renderers import ChatParams, renderer_from_config

from tests.checkpoints import random_image
from tools.serving import image_message


@pytest.fixture(scope="module")
def renderer(mha_checkpoint: Path) -> Any:
    config = EngineArgs(str(mha_checkpoint), dtype="float32", max_model_len=512, enforce_eager=True)
    return renderer_from_config(config.create_engine_config())


def rendered(renderer: Any, seed: int) -> Any:
    """The processed picture of a request, as it would go to the engine; None if only its name would go."""
    part = {"type": "image_pil", "image_pil": random_image(seed)}
    messages = image_message(random_image(seed))
    messages[0]["content"][0] = part
    _, (prompt,) = asyncio.run(renderer.render_chat_async([messages], ChatParams()))
    return prompt["mm_kwargs"]["image"][0]


def test_a_picture_is_sent_although_an_earlier_request_showed_it(renderer: Any) -> None:
    """The earlier one never reached an engine here: there is none, as for a client that left or was refused."""
    assert rendered(renderer, 1) is not None
    assert rendered(renderer, 1) is None, "vLLM believes that the engine has it: what this test is about"
    send_pictures_each_time(renderer)
    first, second = rendered(renderer, 2), rendered(renderer, 2)
    assert first is not None
    assert second is not None
    assert first["pixel_values"].data.equal(second["pixel_values"].data)
    assert renderer.mm_processor_cache.is_cached_item(next(iter(renderer.mm_processor_cache._cache))), "still a cache"


def test_the_cache_counts_for_metrics(renderer: Any) -> None:
    send_pictures_each_time(renderer)
    renderer.stat_mm_cache()
    rendered(renderer, 3)
    rendered(renderer, 3)
    counted = renderer.stat_mm_cache()
    assert (counted.queries, counted.hits) == (2, 1)
