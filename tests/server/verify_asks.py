"""Requests with `verify` to the built-in model on all routes, and how their answers are read."""

from __future__ import annotations

import json
import math
from typing import Any

from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.world import make_scene
from tools.client import Client
from tools.serving import image_message

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
ROUTES = [CHAT, RESPONSES, MESSAGES]
QUESTION = "Is there a {} in the image? Please answer yes or no."
VOCABULARY = 512


def messages_of(scene: int) -> list[Any]:
    """Return a request for a caption of a scene."""
    return image_message(make_scene(scene).pil())


def url_of(scene: int) -> str:
    return str(messages_of(scene)[0]["content"][0]["image_url"]["url"])


def body(path: str, scene: int = 60) -> dict[str, Any]:
    """Return a request for a caption on any route; the model invents a cloud in scene 60."""
    url = url_of(scene)
    if path == CHAT:
        return {"model": "scenes", "messages": messages_of(scene), "max_tokens": 80, "temperature": 0}
    if path == RESPONSES:
        parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": CAPTION_REQUEST}]
        return {
            "model": "scenes",
            "input": [{"role": "user", "content": parts}],
            "max_output_tokens": 80,
            "temperature": 0,
        }
    source = {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": CAPTION_REQUEST}]
    return {"model": "scenes", "messages": [{"role": "user", "content": blocks}], "max_tokens": 80, "temperature": 0}


def post(server: Client, path: str = CHAT, scene: int = 60, **fields: Any) -> dict[str, Any]:
    status, answer = server.post(path, body(path, scene) | fields)
    assert status == 200, answer
    read: dict[str, Any] = json.loads(answer)
    return read


def refused(server: Client, path: str = CHAT, **fields: Any) -> tuple[str | None, str]:
    """Return the field that an error names, and its message."""
    status, answer = server.post(path, body(path) | fields)
    assert status == 400, answer
    error = json.loads(answer)["error"]
    return error.get("param"), error["message"]


def text(answer: dict[str, Any]) -> str:
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    if "output" in answer:
        return "".join(part["text"] for item in answer["output"] for part in item["content"])
    return "".join(block["text"] for block in answer["content"])


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {one["object"]: one["verdict"] for one in answer["verify"]["mentions"]}


def probability(server: Client, question: str, yes: set[str], no: set[str], scene: int = 60) -> float:
    """Compute P(yes) from a plain chat that returns the log-probabilities of the whole vocabulary."""
    asked = [{"role": "user", "content": [messages_of(scene)[0]["content"][0], {"type": "text", "text": question}]}]
    answer = post(server, messages=asked, max_tokens=1, logprobs=True, top_logprobs=VOCABULARY)
    first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert len(first) >= 490, "the whole vocabulary is needed"
    sides = [sum(math.exp(one["logprob"]) for one in first if one["token"].strip() in side) for side in (yes, no)]
    return sides[0] / sum(sides)


def events(server: Client, path: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the events of a stream."""
    status, answer = server.post(path, body(path) | {"stream": True} | fields)
    assert status == 200, answer
    lines = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]
