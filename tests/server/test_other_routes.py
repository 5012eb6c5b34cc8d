"""Routes of vLLM beside OpenAI's chat: Anthropic's messages with its own client, completions, `/abort_requests`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.checkpoints import random_image
from tools.serving import API_KEY, SMALL, Server, image_message

EAH: dict[str, Any] = {"layer": 1, "relative_threshold": 1.5}
XARGS: dict[str, Any] = {"eah": 1, "eah_layer": 1, "eah_relative_threshold": 1.5}
OPENAI = image_message(random_image(2))


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    arguments = ["--served-model-name", "tiny", *SMALL, str(unusual_checkpoint)]  # options may come first
    # The development mode has vLLM's /abort_requests.
    with Server(arguments, env={"VLLM_SERVER_DEV_MODE": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, auth_token=API_KEY, max_retries=0)


def asked(model: str = "tiny", max_tokens: int = 12, **body: Any) -> dict[str, Any]:
    """What `OPENAI` asks, in Anthropic's form."""
    picture, question = OPENAI[0]["content"]
    data = picture["image_url"]["url"].partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": data}
    messages = [{"role": "user", "content": [{"type": "image", "source": source}, question]}]
    greedy = {"temperature": 0} | body  # the client library has no such argument
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "extra_body": greedy}


def text(message: Any) -> str:
    return str(message.content[0].text)


def chat(server: Server, **body: Any) -> Any:
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "extra_body": body}
    return server.client.chat.completions.create(model="tiny", messages=OPENAI, **options)


def test_messages_answer_and_report_as_chat_does(server: Server, client: anthropic.Anthropic) -> None:
    off, on = chat(server), chat(server, eah=EAH | {"report": True})
    assert off.choices[0].message.content != on.choices[0].message.content, "EAH had no effect here"
    message = client.messages.create(**asked(eah=EAH | {"report": True}))
    assert (text(message), message.model) == (on.choices[0].message.content, "tiny")
    assert on.eah["applied"]
    assert message.eah == on.eah  # type: ignore[attr-defined]
    plain = client.messages.create(**asked())
    assert text(plain) == off.choices[0].message.content
    assert not hasattr(plain, "eah")
    assert not hasattr(client.messages.create(**asked(eah=EAH)), "eah"), "a report that nobody asked for"
    flat = client.messages.create(**asked(vllm_xargs=XARGS | {"eah_report": 1}))
    assert (text(flat), flat.eah) == (text(message), on.eah)  # type: ignore[attr-defined]


def test_messages_take_the_alias(server: Server, client: anthropic.Anthropic) -> None:
    on = client.messages.create(**asked(eah=True))
    alias = client.messages.create(**asked("tiny:eah"))
    assert (text(alias), alias.model) == (text(on), "tiny")
    off = client.messages.create(**asked("tiny:eah", eah=False))
    assert text(off) == text(client.messages.create(**asked())) != text(on)


def test_a_stream_of_messages_reports_in_message_delta(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**asked(eah=EAH | {"report": True}))
    events = list(client.messages.create(**asked(eah=EAH | {"report": True}), stream=True))
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == text(whole)
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]
    assert [hasattr(event, "eah") for event in events[-3:]] == [False, True, False]
    assert (events[-2].eah, events[-2].delta.stop_reason) == (whole.eah, "max_tokens")
    with client.messages.stream(**asked(eah=EAH | {"report": True})) as stream:
        reports = [event.eah for event in stream if event.type == "message_delta"]
        assert text(stream.get_final_message()) == text(whole)
    assert reports == [whole.eah]  # type: ignore[attr-defined]
    assert not any(hasattr(event, "eah") for event in client.messages.create(**asked(eah=EAH), stream=True))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"eah": "yes"}, "eah"),
        ({"eah": {"layr": 1}}, "eah.layr"),
        ({"eah": {"layer": 5}}, "eah.layer"),
        ({"eah": True, "vllm_xargs": {"eah": 1}}, "vllm_xargs"),
        ({"vllm_xargs": {"eah": 1, "eah_layer": 99}}, "layer"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_messages_refuse_impossible_options_in_their_own_form(
    server: Server, client: anthropic.Anthropic, body: dict[str, Any], named: str, stream: bool
) -> None:
    before = server.counter("eah_requests_total", outcome="refused")
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(**asked(**body), stream=stream)
    answer: Any = refused.value.body
    assert (answer["type"], sorted(answer), sorted(answer["error"])) == (
        "error",
        ["error", "type"],
        ["message", "type"],
    )
    assert named in answer["error"]["message"]
    assert server.counter("eah_requests_total", outcome="refused") == before + 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "none:eah"}, 404),
        ({"max_tokens": 0}, 400),
        ({"top_k": 2**70}, 400),
        ({"messages": 1}, 400),
    ],
)
def test_every_error_of_messages_has_their_form(client: anthropic.Anthropic, body: dict[str, Any], status: int) -> None:
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(**asked() | {"extra_body": body})
    answer: Any = refused.value.body
    assert (refused.value.status_code, answer["type"]) == (status, "error")
    assert answer["error"]["message"]


def test_a_client_of_messages_may_leave(server: Server, client: anthropic.Anthropic) -> None:
    stream = client.messages.create(**asked(max_tokens=400, eah=EAH | {"report": True}), stream=True)
    next(iter(stream))
    stream.close()
    server.wait_for_counter(0, "vllm:num_requests_running", engine="0", model_name="tiny")
    message = client.messages.create(**asked(eah=EAH | {"report": True}))
    assert message.eah["applied"], "the server must live on"  # type: ignore[attr-defined]


def test_completions_carry_no_image_and_so_take_no_eah(server: Server) -> None:
    prompt: dict[str, Any] = {"prompt": "USER: Is there a dog?", "temperature": 0, "max_tokens": 12}
    create = server.client.completions.create
    plain = create(model="tiny", **prompt).choices[0].text
    before = {outcome: server.counter("eah_requests_total", outcome=outcome) for outcome in ("refused", "no_image")}
    for eah in (True, {"report": True}, {"layr": 1}, "yes", 0):
        with pytest.raises(openai.BadRequestError, match="eah: this route takes no eah, since its prompts carry no"):
            create(model="tiny", **prompt, extra_body={"eah": eah})
    assert create(model="tiny", **prompt, extra_body={"eah": False}).choices[0].text == plain
    assert create(model="tiny:eah", **prompt).choices[0].text == plain
    assert {chunk.model for chunk in create(model="tiny:eah", **prompt, stream=True)} == {"tiny"}
    flat = create(model="tiny:eah", **prompt, extra_body={"vllm_xargs": XARGS | {"eah_report": 1}})
    assert flat.choices[0].text == plain
    assert flat.eah == {"applied": False, "reason": "no_image", "layers": []}  # type: ignore[attr-defined]
    assert server.counter("eah_requests_total", outcome="refused") == before["refused"] + 5
    assert server.counter("eah_requests_total", outcome="no_image") == before["no_image"] + 1


def aborted_stream(server: Server, client: anthropic.Anthropic) -> list[Any]:
    """All events of a stream that was aborted; on a busy machine one may have ended before, so others are tried."""
    for _ in range(20):
        events = iter(client.messages.create(**asked(max_tokens=400, eah=EAH | {"report": True}), stream=True))
        first = next(events)
        status, answer = server.post("/abort_requests", {})
        assert status == 200, answer
        received = [first, *events]
        if '"aborted":1' in answer.replace(" ", ""):
            return received
    raise AssertionError("each stream ended before it could be aborted")


def test_abort_requests_ends_a_running_stream(server: Server, client: anthropic.Anthropic) -> None:
    start, *_, delta, _ = aborted_stream(server, client)
    assert start.type == "message_start"
    assert delta.type == "message_delta"
    assert delta.usage.output_tokens < 400
    assert delta.eah["applied"], "what was done before the end is still reported"
    server.wait_for_counter(0, "vllm:num_requests_running", engine="0", model_name="tiny")
