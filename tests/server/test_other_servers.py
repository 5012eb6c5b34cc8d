"""vLLM's own serve command with the plugin, and the off switch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.checkpoints import random_image
from tools.serving import SMALL, Server, image_message

XARGS = {"eah": 1, "eah_layer": 1, "eah_relative_threshold": 1.5}


def caption(server: Server, messages: list[Any], model: str = "tiny", **body: Any) -> Any:
    return server.client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=60, extra_body=body
    )


def cached(response: Any) -> int:
    details = response.usage.prompt_tokens_details
    return int(details.cached_tokens if details else 0)


def test_plain_vllm_serve_takes_vllm_xargs(unusual_checkpoint: Path) -> None:
    messages = image_message(random_image(56), "Is there a dog in the image? " * 4)
    with Server([str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL], plain=True) as server:
        assert server.get("/v1/eah")[0] == 404, "our endpoint plugin is loaded; this test is not about it"
        on, off = caption(server, messages, vllm_xargs=XARGS), caption(server, messages)
        assert on.choices[0].message.content != off.choices[0].message.content, "EAH had no effect here"
        assert cached(off) == 0, "a plain request read blocks that an EAH request wrote"
        assert cached(caption(server, messages)) >= 32
        assert cached(caption(server, messages, vllm_xargs=XARGS)) == 0
        with pytest.raises(openai.BadRequestError, match=r"eah_layer: this model has layers 0..4, got 9"):
            caption(server, messages, vllm_xargs={"eah": 1, "eah_layer": 9})


def test_beam_search_with_eah_is_refused_where_our_routes_are_loaded(unusual_checkpoint: Path) -> None:
    """vLLM's beam search drops `vllm_xargs` before any hook of ours; our routes look first."""
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL]
    with Server(arguments, env={"VLLM_PLUGINS": "eah"}, plain=True) as server:
        messages = image_message(random_image(58))
        with pytest.raises(openai.BadRequestError, match="use_beam_search"):
            caption(server, messages, vllm_xargs=XARGS, use_beam_search=True, n=2)
        elsewhere = [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]}
        ]
        with pytest.raises(openai.BadRequestError, match="--allowed-media-domains"):
            caption(server, elsewhere)
        assert caption(server, messages, use_beam_search=True, n=2).choices[1].message.content


def test_off_switch(unusual_checkpoint: Path) -> None:
    messages = image_message(random_image(57))
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL]
    with Server(arguments, env={"EAH_DISABLE": "1"}) as server:
        plain, asked = caption(server, messages), caption(server, messages, eah=True)
        assert asked.choices[0].message.content == plain.choices[0].message.content
        assert asked.eah == {"applied": False, "reason": "disabled", "layers": []}
        described = json.loads(server.get("/v1/eah")[1])
        assert (described["supported"], described["reason"]) == (False, "disabled")
        assert server.counter("eah_requests_total", outcome="disabled") == 1
