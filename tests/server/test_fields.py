"""What a request says and where it says it: names of models, misplaced fields, and responses in the background.

One server with two served names, one of which ends like an alias, an adapter, and vLLM's store of responses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.checkpoints import random_image
from tests.lora import make_lora
from tools.serving import IN_ENGINE, SMALL, Server, image_message

EAH = {"layer": 1, "relative_threshold": 1.5}
REPORT = EAH | {"report": True}
MESSAGES = image_message(random_image(2))
PICTURE = MESSAGES[0]["content"][0]["image_url"]["url"]
LONG = "dog " * 700
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
ANTHROPIC, BATCH = "/v1/messages", "/v1/chat/completions/batch"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "dog ?"}], "max_tokens": 2},
    COMPLETIONS: {"prompt": "dog ?", "max_tokens": 2},
    RESPONSES: {"input": "dog ?", "max_output_tokens": 2},
    ANTHROPIC: {"messages": [{"role": "user", "content": "dog ?"}], "max_tokens": 2},
    BATCH: {"messages": [[{"role": "user", "content": "dog ?"}]], "max_tokens": 2},
}


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("lora")
    make_lora(unusual_checkpoint, folder / "adapter", folder / "merged")
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", "foo:eah", *SMALL, "--enable-lora"]
    arguments += ["--max-loras", "2", "--max-lora-rank", "8", "--lora-modules", f"drawn={folder / 'adapter'}"]
    with Server(arguments, env={"VLLM_ENABLE_RESPONSES_API_STORE": "1"} | IN_ENGINE) as server:
        yield server


def post(server: Server, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    status, answer = server.post(path, {"model": "tiny"} | body)
    return status, json.loads(answer)


def chat(server: Server, **body: Any) -> dict[str, Any]:
    asked = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12, "ignore_eos": True}
    status, answer = post(server, CHAT, asked | body)
    assert status == 200, answer
    return answer


def text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_an_exact_name_comes_before_an_alias(server: Server) -> None:
    off, on = text(chat(server)), text(chat(server, eah=True))
    assert off != on, "EAH had no effect here"
    assert text(chat(server, model="foo:eah")) == off
    assert text(chat(server, model="foo:eah:eah")) == on
    assert text(chat(server, model="tiny:eah")) == on


def test_an_adapter_has_an_alias(server: Server) -> None:
    off, on = chat(server, model="drawn"), chat(server, model="drawn:eah")
    assert (off["model"], on["model"]) == ("drawn", "drawn")
    assert text(off) not in (text(on), text(chat(server))), "EAH or the adapter had no effect here"
    assert text(chat(server, model="drawn", eah=True)) == text(on)


def test_every_alias_is_listed(server: Server) -> None:
    names = ["tiny", "foo:eah", "drawn"]
    aliases = [f"{name}:{modes}" for modes in ("eah", "verify", "eah+verify") for name in names]
    cards = json.loads(server.get("/v1/models")[1])["data"]
    assert [card["id"] for card in cards] == ["tiny", "foo:eah", "drawn", *aliases]
    assert cards[-1]["parent"] == "tiny"
    assert json.loads(server.get("/v1/eah")[1])["aliases"] == aliases


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("tiny:EAH", "tiny:eah"),
        ("Tiny:eah", "tiny:eah"),
        ("TINY", "tiny"),
        ("tiny:vcd", "tiny:eah"),
        ("tiny:eah:eah", "tiny:eah"),
        ("drawn:EAH", "drawn:eah"),
        ("tiny:Verify", "tiny:verify"),
        ("tiny:Verify+EAH", "tiny:eah+verify"),
        ("tiny:eah+eah", "tiny:eah"),
        ("Drawn", "drawn"),
        ("nothing-like-it", None),
        ("nothing:eah", None),
    ],
)
def test_a_name_that_is_not_served_is_answered_with_those_that_are(
    server: Server, path: str, asked: str, meant: str | None
) -> None:
    status, answer = post(server, path, BODIES[path] | {"model": asked})
    error = answer["error"]
    assert (status, error["code"], error["type"], error["param"]) == (404, 404, "NotFoundError", "model")
    served = "Valid names: tiny, foo:eah; with EAH on: tiny:eah, foo:eah:eah; with verify on: tiny:verify, "
    served += "foo:eah:verify; with EAH and verify on: tiny:eah+verify, foo:eah:eah+verify."
    assert error["message"].startswith(f"The model '{asked}' does not exist. {served}")
    if meant is None:
        assert "Did you mean" not in error["message"]
    else:
        assert meant in error["message"].partition("Did you mean ")[2].removesuffix("?").split(" or ")


@pytest.mark.parametrize("path", list(BODIES))
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"extra_body": {"eah": True}}, "extra_body.eah: extra_body is an argument of the openai client"),
        ({"extra_body": {"vllm_xargs": {"eah": 1}}}, "extra_body.vllm_xargs: extra_body is an argument"),
        ({"eah_layer": 1}, "eah_layer: EAH is not read here; send the field eah at the top level"),
        ({"eah_report": True}, "eah_report: EAH is not read here"),
        ({"metadata": {"eah": "true"}}, "metadata.eah: EAH is not read here"),
        ({"chat_template_kwargs": {"eah": True}}, "chat_template_kwargs.eah: EAH is not read here"),
    ],
    ids=str,
)
def test_a_misplaced_name_is_refused_on_every_route(
    server: Server, path: str, fields: dict[str, Any], named: str
) -> None:
    before = server.counter("eah_requests_total", outcome="refused")
    status, answer = post(server, path, BODIES[path] | fields)
    assert status == 400
    assert named in answer["error"]["message"]
    assert server.counter("eah_requests_total", outcome="refused") == before + 1


@pytest.mark.parametrize("path", list(BODIES))
def test_a_body_without_misplaced_names_is_answered(server: Server, path: str) -> None:
    assert post(server, path, BODIES[path] | {"extra_body": {"top_k": 5}})[0] == 200


@pytest.mark.parametrize("eah", [{"report": "yes"}, {"layer": "2"}, {"layer": 2.0}, {"threshold": "0.1"}], ids=str)
def test_a_typed_option_of_another_type_is_refused(server: Server, eah: dict[str, Any]) -> None:
    status, answer = post(server, CHAT, {"messages": MESSAGES, "max_tokens": 2, "eah": eah})
    assert status == 400
    assert answer["error"]["param"] == f"eah.{next(iter(eah))}"


def test_flat_options_may_be_texts(server: Server) -> None:
    for on, report in ((1, 1), ("1", "1"), ("true", "true"), (True, True)):
        flat = {"eah": on, "eah_layer": "1", "eah_relative_threshold": "1.5", "eah_report": report}
        assert chat(server, vllm_xargs=flat)["eah"] == chat(server, eah=REPORT)["eah"]


def test_a_stream_of_two_choices_has_one_report_when_both_have_ended(server: Server) -> None:
    asked = {"messages": MESSAGES, "n": 2, "temperature": 1e-4, "max_tokens": 12, "ignore_eos": True, "eah": REPORT}
    events = events_of(server.post(CHAT, {"model": "tiny", "stream": True} | asked)[1])
    ends = [choice["index"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    assert sorted(ends) == [0, 1]
    assert events[-1]["eah"] == chat(server, eah=REPORT)["eah"]


def response_body(question: str = "Please describe this image in detail.", picture: str = PICTURE) -> dict[str, Any]:
    content = [
        {"type": "input_image", "image_url": picture, "detail": "auto"},
        {"type": "input_text", "text": question},
    ]
    return {"input": [{"role": "user", "content": content}], "temperature": 0, "max_output_tokens": 12}


def ended(server: Server, response_id: str) -> dict[str, Any]:
    """The stored response; while it has not ended, it must carry no report."""
    for _ in range(10_000):
        answer: dict[str, Any] = json.loads(server.get(f"{RESPONSES}/{response_id}")[1])
        if answer["status"] not in ("queued", "in_progress"):
            return answer
        assert "eah" not in answer
    raise AssertionError(f"{response_id} does not end")


def events_of(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, of which the last one alone has a report."""
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    assert ['"eah"' in line for line in data] == [False] * (len(data) - 1) + [True]
    return [json.loads(line) for line in data]


def last_event(stream: str) -> dict[str, Any]:
    event = events_of(stream)[-1]
    assert event["response"]["eah"] == event["eah"]
    return event


def test_a_response_in_the_background_has_its_report_at_the_end(server: Server) -> None:
    now = post(server, RESPONSES, response_body() | {"eah": REPORT})[1]
    assert now["eah"]["applied"]
    status, queued = post(server, RESPONSES, response_body() | {"eah": REPORT, "background": True})
    assert (status, queued["status"], "eah" in queued) == (200, "queued", False)
    for _ in range(2):
        answer = ended(server, queued["id"])
        assert answer["eah"] == now["eah"]
        assert answer["output"][0]["content"] == now["output"][0]["content"]
    off = post(server, RESPONSES, response_body() | {"background": True})[1]
    assert "eah" not in ended(server, off["id"])
    assert ended(server, off["id"])["output"][0]["content"] != now["output"][0]["content"], "EAH had no effect here"
    silent = post(server, RESPONSES, response_body() | {"eah": EAH, "background": True})[1]
    assert "eah" not in ended(server, silent["id"])


def test_a_stream_in_the_background_has_its_report_at_the_end(server: Server) -> None:
    now = post(server, RESPONSES, response_body() | {"eah": REPORT})[1]["eah"]
    body = response_body() | {"eah": REPORT, "background": True, "stream": True}
    event = last_event(server.post(RESPONSES, {"model": "tiny"} | body)[1])
    assert event["eah"] == now
    path = f"{RESPONSES}/{event['response']['id']}"
    assert last_event(server.get(f"{path}?stream=true")[1])["eah"] == now
    assert last_event(server.get(f"{path}?stream=true&starting_after=3")[1])["eah"] == now
    assert json.loads(server.get(path)[1])["eah"] == now


def test_a_client_that_leaves_a_background_stream_finds_the_report_later(server: Server) -> None:
    stream = server.client.responses.create(
        model="tiny", background=True, stream=True, extra_body={"eah": REPORT}, **response_body()
    )
    response_id = next(iter(stream)).response.id
    stream.close()
    assert last_event(server.get(f"{RESPONSES}/{response_id}?stream=true")[1])["eah"]["applied"]


def cancelled_response(server: Server) -> str:
    """The id of a response that was cancelled; on a busy machine one may have ended before, so others are tried."""
    body = response_body() | {"eah": REPORT, "background": True, "max_output_tokens": 400, "ignore_eos": True}
    for _ in range(20):
        queued = post(server, RESPONSES, body)[1]
        status, answer = post(server, f"{RESPONSES}/{queued['id']}/cancel", {})
        if status == 200 and answer["status"] == "cancelled":
            return str(queued["id"])
    raise AssertionError(f"each response ended before it could be cancelled: {answer}")


def test_a_response_that_was_cancelled_has_no_report(server: Server) -> None:
    answer = ended(server, cancelled_response(server))
    assert (answer["status"], "eah" in answer) == ("cancelled", False)
    assert server.get(f"{RESPONSES}/nothing")[0] == 404


def test_a_response_id_that_is_used_again_has_no_report_of_another(server: Server) -> None:
    body = response_body() | {"background": True, "request_id": "resp_mine"}
    assert ended(server, post(server, RESPONSES, body | {"eah": REPORT})[1]["id"])["eah"]["applied"]
    assert "eah" not in ended(server, post(server, RESPONSES, body)[1]["id"])


@pytest.mark.parametrize("length", [0, 1, 5, 20])
def test_a_picture_is_not_cut_off(server: Server, length: int) -> None:
    """vLLM answered 500 where the cut takes away the place of the picture, before it knows how long the picture is."""
    messages = image_message(random_image(300 + length))
    for path, body in (
        (CHAT, {"messages": messages}),
        (BATCH, {"messages": [messages]}),
        ("/invocations", {"messages": messages}),
    ):
        body |= {"max_tokens": 2}
        for cut in ({"truncate_prompt_tokens": length}, {"truncate_prompt_tokens": length, "truncation_side": "right"}):
            status, answer = post(server, path, body | cut)
            assert status == 400, answer
            assert answer["error"]["param"] == "truncate_prompt_tokens"
        for fine in (-1, None, 400):
            assert post(server, path, body | {"truncate_prompt_tokens": fine})[0] == 200


def test_text_behind_a_picture_is_cut(server: Server) -> None:
    body = {"messages": image_message(random_image(401), LONG), "max_tokens": 2}
    cut = {"truncate_prompt_tokens": 200, "truncation_side": "right"}
    status, answer = post(server, CHAT, body | cut)
    assert status == 200, answer
    assert answer["usage"]["prompt_tokens"] == 200


def test_a_prompt_whose_picture_does_not_fit_is_refused(server: Server) -> None:
    messages = image_message(random_image(400), LONG)
    picture = messages[0]["content"][0]["image_url"]["url"]
    status, answer = post(server, CHAT, {"messages": messages, "max_tokens": 2, "truncate_prompt_tokens": -1})
    assert status == 400
    assert "would cut a picture off" in answer["error"]["message"]
    status, answer = post(server, RESPONSES, response_body(LONG, picture) | {"truncation": "auto"})
    assert status == 400
    assert "would cut a picture off" in answer["error"]["message"]
    first = post(server, RESPONSES, response_body(picture=picture) | {"truncation": "auto"})[1]
    assert first["status"] in ("completed", "incomplete")
    later = {"input": LONG, "previous_response_id": first["id"], "truncation": "auto", "max_output_tokens": 2}
    assert post(server, RESPONSES, later)[0] == 400


def test_text_is_cut_as_before(server: Server) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": LONG}], "max_tokens": 2}
    for length in (-1, 5):
        assert post(server, CHAT, body | {"truncate_prompt_tokens": length})[0] == 200
    assert post(server, RESPONSES, {"input": LONG, "truncation": "auto", "max_output_tokens": 2})[0] == 200
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        server.client.chat.completions.create(model="tiny", **body)
