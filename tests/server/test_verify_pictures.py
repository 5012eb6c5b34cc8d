"""The pictures of a question, and who answers it: what a URL showed, adapters, a server without hardening."""

from __future__ import annotations

import io
import itertools
import json
import math
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import random_image
from tests.server.verify_asks import CHAT
from tests.unit.test_fetch import HTTPServer, send
from tools.serving import Server, image_message

PICTURES = [random_image(k) for k in range(3)]
ASKED: dict[str, Any] = {"objects": ["dog", "cup"], "yes": ["a"], "no": ["i"], "question": "Is there a {object} ?"}
SAID = {"structured_outputs": {"choice": ["A dog and a cup."]}}
"""The tiny model's own answers are noise."""


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def post(server: Server, messages: Any, **fields: Any) -> dict[str, Any]:
    asked = {"model": "tiny", "messages": messages, "max_tokens": 60, "temperature": 0}
    status, answer = server.post(CHAT, asked | fields)
    assert status == 200, answer
    read: dict[str, Any] = json.loads(answer)
    return read


def known(server: Server, messages: Any, name: str, **fields: Any) -> float:
    question = [{"type": "text", "text": f"Is there a {name} ?"}]
    content = [part for part in messages[0]["content"] if part["type"] == "image_url"]
    asked = [{"role": "user", "content": content + question}]
    answer = post(server, asked, max_tokens=1, logprobs=True, top_logprobs=384, **fields)
    scores = {"a": 0.0, "i": 0.0}
    for one in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        if one["token"].strip().lower() in scores:
            scores[one["token"].strip().lower()] += math.exp(one["logprob"])
    return scores["a"] / sum(scores.values())


def beliefs(server: Server, messages: Any, **fields: Any) -> dict[str, float]:
    report = post(server, messages, verify=ASKED, **SAID | fields)["verify"]
    assert (report["error"], report["asked"]) == (None, 2)
    return {one["object"]: one["p_yes"] for one in report["mentions"]}


@pytest.fixture(scope="module", params=[0, 1], ids=["hardened", "bare"])
def server(request: pytest.FixtureRequest, hardened_and_bare: tuple[Server, Server]) -> Server:
    return hardened_and_bare[request.param]


def test_a_url_is_fetched_once(server: Server) -> None:
    """The other server shows another picture each time; the one that was captioned is the one that is asked about."""
    turn = itertools.count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, png(PICTURES[next(turn) % len(PICTURES)]), Content_Type="image/png")

    with HTTPServer(answer) as other:
        url = {"type": "image_url", "image_url": {"url": f"http://localhost:{other.port}/a.png"}}
        text = {"type": "text", "text": "Please describe this image in detail."}
        for picture in PICTURES[:2]:
            found = beliefs(server, [{"role": "user", "content": [url, text]}])
            shown = image_message(picture)
            assert found == pytest.approx(beliefs(server, shown), abs=1e-4)
            for name, chance in found.items():
                assert chance == pytest.approx(known(server, shown, name), abs=2e-4)
        assert len(other.requests) == 2
        twice = [{"role": "user", "content": [url, url, text]}]
        beliefs(server, twice)
        assert len(other.requests) == 3, "one URL is one picture, also within a request"


def test_all_pictures_of_the_user_go_along(server: Server) -> None:
    first, second = (image_message(picture)[0]["content"][0] for picture in PICTURES[:2])
    text = {"type": "text", "text": "Please describe this image in detail."}
    both = beliefs(server, [{"role": "user", "content": [first, second, text]}])
    for name, chance in both.items():
        assert chance == pytest.approx(known(server, [{"content": [first, second]}], name), abs=2e-4)
    turns = [
        {"role": "user", "content": [first]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": [text, second]},
    ]
    for name, chance in beliefs(server, turns).items():
        assert chance == pytest.approx(known(server, [{"content": [first, second]}], name), abs=2e-4)


def test_the_adapter_that_answered_is_asked(server: Server) -> None:
    shown = image_message(PICTURES[0])
    adapted = beliefs(server, shown, model="drawn")
    for name, chance in adapted.items():
        assert chance == pytest.approx(known(server, shown, name, model="drawn"), abs=2e-4)
        assert chance != pytest.approx(known(server, shown, name), abs=1e-2), "the adapter had no effect here"


def test_the_callers_sampling_is_not_the_questions(server: Server) -> None:
    shown = image_message(PICTURES[0])
    plain = beliefs(server, shown)
    ids = json.loads(server.post("/tokenize", {"model": "tiny", "prompt": "ai", "add_special_tokens": False})[1])[
        "tokens"
    ]
    bias = {"logit_bias": {str(one): -100 for one in ids}, "presence_penalty": 1.9, "temperature": 2, "seed": 3}
    assert beliefs(server, shown, **bias) == pytest.approx(plain, abs=1e-4)
