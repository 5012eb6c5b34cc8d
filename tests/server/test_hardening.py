"""`eah_http.hardening` switches off what docs/hardening.md lists, as one, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import random_image
from tools.client import Client
from tools.serving import Server, image_message

EAH = {"layer": 1, "relative_threshold": 1.5, "report": True}


@pytest.fixture(scope="module")
def servers(hardened_and_bare: tuple[Server, Server]) -> tuple[Server, Server]:
    return hardened_and_bare


def animated() -> str:
    """A data: URL of a GIF of two frames."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:])
    return "data:image/gif;base64," + base64.b64encode(buffer.getvalue()).decode()


def chat(server: Server, messages: list[Any], **more: Any) -> tuple[int, str]:
    body = {"model": "tiny", "messages": messages, "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    return server.post("/v1/chat/completions", body | more)


def test_the_switch_takes_all_of_it_away(servers: tuple[Server, Server]) -> None:
    hardened, plain = servers
    content = [{"type": "image_url", "image_url": {"url": animated()}}, {"type": "text", "text": "What is it?"}]
    words = [{"role": "user", "content": "hello"}]
    found = {
        "a page with scripts from elsewhere": [server.get("/docs")[0] for server in servers],
        "a path outside /v1 without the key": [server.get("/openapi.json", key=None)[0] for server in servers],
        "a picture of two frames": [chat(server, [{"role": "user", "content": content}])[0] for server in servers],
        "a body of very many values": [chat(server, words, junk=[[]] * 600_000)[0] for server in servers],
    }
    assert found == {
        "a page with scripts from elsewhere": [404, 200],
        "a path outside /v1 without the key": [401, 200],
        "a picture of two frames": [400, 200],
        "a body of very many values": [413, 200],
    }
    assert "error" in json.loads(hardened.get("/nothing")[1])
    assert "detail" in json.loads(plain.get("/nothing")[1]), "vLLM leaves Starlette's errors as they are"
    assert "hardening is false" in plain.log()
    assert "hardening is false" not in hardened.log()
    assert plain.get("/v1/models", key=None)[0] == 401, "vLLM's own check of the key stays"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_errors_of_messages_have_their_form_with_and_without_it(servers: tuple[Server, Server], path: str) -> None:
    for server in servers:
        status, text = server.post(path, {"model": "tiny"})  # vLLM's own answer to a body that lacks a field
        answer = json.loads(text)
        assert (status, answer["type"], sorted(answer["error"])) == (400, "error", ["message", "type"])
        assert "messages" in answer["error"]["message"]
        status, text = server.get(path)
        answer = json.loads(text)
        assert (status, answer["type"], answer["error"]["type"]) == (405, "error", "Method Not Allowed")


def test_a_missing_key_is_answered_in_the_form_of_the_route(servers: tuple[Server, Server]) -> None:
    for server in servers:
        stranger = Client(server.url)
        status, text = stranger.post("/v1/messages", {"model": "tiny"})
        unauthorized = {"type": "Unauthorized", "message": "Unauthorized"}
        assert (status, json.loads(text)) == (401, {"type": "error", "error": unauthorized})
        status, text = stranger.post("/v1/chat/completions", {"model": "tiny"})
        assert (status, json.loads(text)) == (401, {"error": "Unauthorized"}), "vLLM's own answer"


def test_the_playground_is_open_without_a_key_and_can_be_switched_off(servers: tuple[Server, Server]) -> None:
    for path in ("/playground", "/playground/main.js", "/playground/pictures/scene-60.png"):
        request = urllib.request.Request(servers[0].url + path)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert servers[1].get(path)[0] == 404
    assert servers[0].get("/playground/nothing.js", key=None)[0] == 401


def test_eah_does_not_depend_on_it(servers: tuple[Server, Server]) -> None:
    picture = image_message(random_image(7))
    answers = [chat(server, picture, eah=EAH, logprobs=True) for server in servers]
    assert [status for status, _ in answers] == [200, 200], answers
    hardened, plain = (json.loads(text) for _, text in answers)
    assert hardened["eah"]["applied"]
    assert hardened["eah"] == plain["eah"]
    assert hardened["choices"][0]["message"] == plain["choices"][0]["message"]
    without = json.loads(chat(servers[1], picture, logprobs=True)[1])
    assert without["choices"][0]["logprobs"] != plain["choices"][0]["logprobs"], "EAH changed nothing"
