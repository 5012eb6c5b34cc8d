"""Content parts that name what a server would open or fetch by itself, on every route; and pictures after a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import random_image
from tests.fuzz.watch import Silent, Trap
from tests.server.test_security import request, said
from tools.serving import SMALL, Server, image_message

CHAT = "/v1/chat/completions"
SECRET = "a-secret-file-name"


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    with Server([str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL]) as server:
        yield server


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "Is there a dog?"}]}]


def tool_result(*parts: Any) -> list[Any]:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": list(parts)},
    ]


def bodies(part: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every way in which a part can come to this server: route and body."""
    chat = {"model": "tiny", "max_tokens": 4, "temperature": 0}
    responses = [{"type": "message", "role": "user", "content": [part]}]
    nested = [{"type": "tool_result", "tool_use_id": "a", "content": [part]}]
    called = [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "look", "input": {}}]}]
    output = [{"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"}]
    return [
        (CHAT, chat | {"messages": user(part)}),
        (CHAT, chat | {"messages": user(part), "stream": True}),
        (CHAT, chat | {"messages": user(part), "eah": True}),
        (CHAT, chat | {"messages": tool_result(part)}),
        (CHAT, chat | {"messages": [{"role": "system", "content": [part]}, *user()]}),
        ("/v1/chat/completions/batch", chat | {"messages": [user(), user(part)]}),
        ("/v1/responses", {"model": "tiny", "input": responses, "max_output_tokens": 4}),
        (
            "/v1/responses",
            {"model": "tiny", "input": [*output, {"type": "function_call_output", "call_id": "a", "output": [part]}]},
        ),
        ("/v1/messages", chat | {"messages": [{"role": "user", "content": [part]}]}),
        ("/v1/messages", chat | {"messages": [*called, {"role": "user", "content": nested}]}),
        ("/v1/messages/count_tokens", {"model": "tiny", "messages": [{"role": "user", "content": [part]}]}),
        ("/invocations", chat | {"messages": user(part)}),
        ("/tokenize", {"model": "tiny", "messages": user(part)}),
    ]


def undocumented(place: str) -> list[dict[str, Any]]:
    """Parts that vLLM would take, or that nobody documents."""
    return [
        {"type": "image_pil", "image_pil": place},
        {"image_pil": place},
        {"type": "image_pil", "image_pil": [place]},
        {"type": "image_pil", "image_pil": {"url": place}},
        {"type": "image_pil", "image_pil": place, "uuid": "a"},
        {"type": "text", "text": "a", "image_pil": place, "uuid": "a"},
        {"type": "image_embeds", "image_embeds": place},
        {"image_embeds": {"image_embeds": place}},
        {"type": "prompt_embeds", "data": place},
        {"type": "audio_embeds", "audio_embeds": place},
        {"type": "video_embeds", "video_embeds": place},
        {"type": "image", "image": place},
        {"type": "file", "file": {"file_data": place}},
        {"type": "vision_chunk", "vision_chunk": place},
    ]


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_no_part_that_is_not_documented_reaches_the_processor(server: Server, scheme: str, tmp_path: Path) -> None:
    picture = tmp_path / f"{SECRET}.png"
    random_image(5).save(picture)
    with Trap() as trap:
        place = f"http://127.0.0.1:{trap.port}/{SECRET}.png" if scheme == "http" else str(picture)
        for idx, part in enumerate(undocumented(place)):
            # One part goes to every place where parts stand; the others to a route of each way to the renderer.
            for path, body in bodies(part) if idx in (0, 1) else bodies(part)[:1] + bodies(part)[-2:]:
                status, _, text = request(server, "POST", path, json.dumps(body).encode())
                assert status == 400, f"{path} {part}: {status} {text}"
                assert len(text) < 2000, f"{path} {part}: {text[:3000]}"
        assert trap.visits == 0


def test_the_refusal_names_the_part_and_repeats_little(server: Server) -> None:
    for part, name in [
        ({"type": "image_pil", "image_pil": "x" * 1_000_000}, "image_pil"),
        ({"type": "y" * 1_000_000, "y": 1}, "is no type of a content part"),
        ({"type": "image_url", "image_url": ["x" * 1_000_000], "uuid": "a"}, "image_url"),
        ({"type": "audio_url", "audio_url": 5, "uuid": "a"}, "audio_url"),
    ]:
        # vLLM's request models read a message whose parts they do not know in another way if it has no other part.
        for path, messages in [
            (path, messages)
            for path in (CHAT, "/invocations", "/tokenize")
            for messages in (user(part), [{"role": "user", "content": [part]}])
        ]:
            body = {"model": "tiny", "messages": messages}
            status, _, text = request(server, "POST", path, json.dumps(body).encode())
            assert (status, name in text, len(text) < 600) == (400, True, True), f"{path}: {text[:1000]}"


def test_a_host_that_never_answers_holds_up_nobody(server: Server) -> None:
    """vLLM renders in one thread; while it waited for that host, every request with a picture would wait too."""
    with Silent() as silent:
        part = {"type": "image_pil", "image_pil": f"http://127.0.0.1:{silent.port}/a.png"}
        for path, body in bodies(part):
            assert request(server, "POST", path, json.dumps(body).encode())[0] == 400
        good = {"model": "tiny", "max_tokens": 4, "messages": image_message(random_image(6))}
        assert request(server, "POST", CHAT, json.dumps(good).encode())[0] == 200
        assert silent.visits == 0


def test_documented_parts_are_answered(server: Server) -> None:
    """Those of vLLM's and OpenAI's documentation; also without a type, and a picture asked for again by its name."""
    url = image_message(random_image(7))[0]["content"][0]["image_url"]["url"]
    first = None
    for part in (
        {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": url}, "uuid": "a picture"},
        {"type": "image_url", "image_url": None, "uuid": "a picture"},
        {"image_url": url},
        {"image_url": {"url": url}},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ):
        body = {"model": "tiny", "max_tokens": 8, "temperature": 0, "messages": user(part)}
        status, _, text = request(server, "POST", CHAT, json.dumps(body).encode())
        assert status == 200, f"{part}: {text}"
        first = first or said(json.loads(text))
        assert said(json.loads(text)) == first
    texts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, {"type": "refusal", "refusal": "no"}]
    for messages in (user(*texts), tool_result({"type": "text", "text": "a dog"}), user("a plain text")):
        body = {"model": "tiny", "max_tokens": 4, "messages": messages}
        status, _, text = request(server, "POST", CHAT, json.dumps(body).encode())
        assert status == 200, text


# A refused request has shown its picture to vLLM's processor already.

REFUSED: list[dict[str, Any]] = [
    {"top_p": 5},
    {"temperature": -1},
    {"n": 3, "temperature": 0},
    {"stop": [""]},
    {"structured_outputs": {"regex": "("}},
    {"logit_bias": {"99999999": 1}},
    {"stop_token_ids": [99999999]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
    {"truncate_prompt_tokens": 20},
    {"min_tokens": 9, "max_tokens": 3},
    {"max_tokens": 100_000},
    {"logprobs": True, "top_logprobs": 100_000},
    {"vllm_xargs": {"eah": 1, "eah_layer": 99}},
    {"data_parallel_rank": 7},
    {"priority": "high"},
]


@pytest.mark.parametrize("eah", [False, True])
def test_a_refused_request_leaves_its_picture_usable(server: Server, eah: bool) -> None:
    """Each refusal brings a picture that nobody has shown before; the next request shows it again."""
    for idx, fields in enumerate(REFUSED):
        body = {"model": "tiny", "max_tokens": 4} | {"messages": image_message(random_image(1000 + 2 * idx + eah))}
        status, _, text = request(server, "POST", CHAT, json.dumps(body | fields).encode())
        good = body | ({"eah": True} if eah else {})
        after, _, answer = request(server, "POST", CHAT, json.dumps(good).encode())
        assert after == 200, f"{fields} got {status} {text[:300]}; then {answer}"
        assert status == 400 or "data_parallel_rank" in fields, f"{fields}: {text}"


def test_a_prompt_that_is_too_long_leaves_its_picture_usable(server: Server) -> None:
    """Its length is known only after the picture was processed."""
    message = image_message(random_image(1100), "dog " * 490)
    body = {"model": "tiny", "max_tokens": 4, "messages": message}
    assert request(server, "POST", CHAT, json.dumps(body).encode())[0] == 400
    body["messages"] = image_message(random_image(1100))
    assert request(server, "POST", CHAT, json.dumps(body).encode())[0] == 200
