"""Limits, keys and headers around a small app, and names of pictures."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from typing import Any

import pytest
from eah_vllm_server.hardening.edge.answer_headers import AnswerHeaders
from eah_vllm_server.hardening.edge.api_key import OPEN_PATHS, KeyForEveryPath
from eah_vllm_server.hardening.edge.body_limit import BodyLimit
from eah_vllm_server.hardening.limits import HTTPLimits, read_limits
from eah_vllm_server.media_uuids import bind_uuids
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Message
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware


def small_app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.post("/json")
    async def read_json(body: dict[str, Any]) -> Any:
        return {"fields": len(body)}

    @app.post("/stream")
    async def read_stream(request: Request) -> Any:
        return {"bytes": sum([len(chunk) async for chunk in request.stream()])}

    @app.post("/surrogate")
    async def surrogate() -> Any:
        return JSONResponse({"text": "\ud800"})

    @app.get("/page")
    async def page() -> Any:
        return HTMLResponse("<p>page</p>")

    @app.get("/own")
    async def own() -> Any:
        return HTMLResponse("", headers={"Content-Security-Policy": "default-src 'self'"})

    return app


def ask(
    app: ASGIApp, path: str, *chunks: bytes, method: str = "POST", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer, and how much of the request was read is in the generator's hands."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": raw, "root_path": "", "http_version": "1.1", "scheme": "http", "server": ("localhost", 80)}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1, "one answer to one request"
    answer = {name.decode().lower(): value.decode() for name, value in starts[0]["headers"]}
    return int(starts[0]["status"]), answer, b"".join(message.get("body", b"") for message in sent)


JSON = {"content_type": "application/json"}
BODY = json.dumps({"a": "x" * 80}).encode()


def test_bodies_up_to_the_limit_pass() -> None:
    app = BodyLimit(small_app(), len(BODY), 9)
    assert ask(app, "/json", BODY, **JSON)[0] == 200
    assert ask(app, "/json", BODY[:30], BODY[30:], **JSON)[0] == 200
    assert ask(app, "/stream", BODY)[2] == json.dumps({"bytes": len(BODY)}, separators=(",", ":")).encode()


@pytest.mark.parametrize("path", ["/json", "/stream"])
@pytest.mark.parametrize(
    "length", [{}, {"content_length": "5"}, {"content_length": str(len(BODY))}, {"content_length": "9" * 5000}]
)
def test_larger_bodies_are_answered_with_413_whatever_their_headers_say(path: str, length: dict[str, str]) -> None:
    chunks = [BODY[at : at + 10] for at in range(0, len(BODY), 10)]
    assert ask(small_app(), path, *chunks, **JSON)[0] == 200, "this is the limit's doing"
    status, _, body = ask(BodyLimit(small_app(), len(BODY) - 1, 9), path, *chunks, **JSON, **length)
    assert status == 413
    error = json.loads(body)["error"]
    assert (error["code"], error["type"], error["param"]) == (413, "Request Entity Too Large", None)
    assert f"larger than {len(BODY) - 1} bytes (eah_http.body_bytes)" in error["message"]


def test_values_are_counted_as_well_as_bytes() -> None:
    app = BodyLimit(small_app(), 10_000, 500)
    for items, expected in [(499, 200), (500, 413)]:
        sent = json.dumps({"a": [0] * items}).encode()
        status, _, body = ask(app, "/json", sent[:70], sent[70:], **JSON)
        assert status == expected, body
    assert "larger than 500 commas and brackets (eah_http.body_items)" in json.loads(body)["error"]["message"]
    assert ask(app, "/stream", sent, content_type="multipart/form-data; boundary=x")[0] == 200, "a file, not JSON"


def test_text_that_no_answer_can_hold_is_a_400() -> None:
    with pytest.raises(UnicodeEncodeError):
        ask(small_app(), "/surrogate")
    app = small_app()
    app.add_middleware(BodyLimit, max_bytes=1000, max_items=9)  # inside what makes a 500 of every error
    status, _, body = ask(app, "/surrogate")
    assert (status, json.loads(body)["error"]["code"]) == (400, 400)
    assert "lone surrogate" in json.loads(body)["error"]["message"]


def test_the_key_covers_every_path_but_a_few() -> None:
    app = KeyForEveryPath(small_app(), tokens=["one", "two"])
    stock = AuthenticationMiddleware(small_app(), tokens=["one"])
    for path in ("/invocations", "/tokenize", "/scale_elastic_ep", "/collective_rpc"):
        assert ask(stock, path)[0] == 404, "vLLM's own check lets it pass to the app"
    paths = ["/json", "/stream", "/nothing", "/invocations", "/tokenize", "/healthz", "/health/", "/metrics/x", ""]
    for path in paths:
        status, _, body = ask(app, path)
        assert (status, json.loads(body)["error"]["code"]) == (401, 401), path
        assert ask(app, path, authorization="Bearer three")[0] == 401
        assert ask(app, path, authorization="Basic one")[0] == 401
        assert ask(app, path, b"{}", **JSON, authorization="Bearer two")[0] in (200, 404)
    for path in OPEN_PATHS:
        assert ask(app, path, method="GET")[0] == 404, "passed to the app, which has no such route"


def test_headers_for_browsers() -> None:
    app = AnswerHeaders(small_app())
    headers = ask(app, "/page", method="GET")[1]
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy, "nothing from elsewhere"
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy"):
        assert name not in ask(app, "/json", b"{}", **JSON)[1], "no page"
    assert ask(app, "/own", method="GET")[1]["content-security-policy"] == "default-src 'self'"
    assert "content-security-policy" not in ask(small_app(), "/page", method="GET")[1]


def chat(uuid: Any, salt: str | None = None) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": "data:,"}, "uuid": uuid}
    return {"cache_salt": salt, "messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}


def bound(uuid: Any, salt: str | None = None) -> str:
    return str(bind_uuids(chat(uuid, salt))["messages"][0]["content"][0]["uuid"])


def test_names_of_pictures_count_among_requests_of_one_salt() -> None:
    names = [bound("cat"), bound("cat", "a"), bound("cat", "b"), bound("dog", "a")]
    assert len(set(names)) == 4
    assert bound("cat", "a") == names[1]
    assert bound("\ud800")
    assert bound(7) == bound("7"), "vLLM makes text of whatever it is"
    assert bind_uuids(chat(None)) == chat(None)
    batch = {"messages": [chat("cat")["messages"], chat("dog")["messages"]]}
    assert [one[0]["content"][0]["uuid"] for one in bind_uuids(batch)["messages"]] == [bound("cat"), bound("dog")]


@pytest.mark.parametrize("data", [None, [], "x", {}, {"messages": 3}, {"messages": [3, None, {"content": 3}]}])
def test_what_is_no_chat_request_is_left_to_its_validation(data: Any) -> None:
    assert bind_uuids(data) is data


def arguments(http: Any = None, **more: Any) -> Namespace:
    return Namespace(additional_config={"eah": {}} | ({} if http is None else {"eah_http": http}), **more)


def test_limits_are_read_from_the_command_line() -> None:
    assert read_limits(Namespace()) == read_limits(arguments()) == HTTPLimits()
    assert read_limits(arguments({"body_bytes": 5})).body_bytes == 5
    assert read_limits(arguments({"hardening": True, "body_bytes": 5})).hardening


def test_hardening_can_be_left_out_as_a_whole() -> None:
    assert not read_limits(arguments({"hardening": False})).hardening
    assert not read_limits(arguments({"hardening": False}, enable_prompt_embeds=True)).hardening, "as vLLM alone"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (arguments({"body_byte": 5}), r"eah_http\.body_byte: .*known are body_bytes, body_items"),
        (arguments({"body_bytes": 0}), r"eah_http\.body_bytes: .*greater than 0.*got 0"),
        (arguments({"image_formats": ["EPS"]}), r"eah_http\.image_formats\.0: .*'PNG'.*got 'EPS'"),
        (arguments({"private_networks": ["10.0.0.1/8"]}), r"eah_http\.private_networks\.0: .*host bits"),
        (arguments([1]), "must be an object"),
        (arguments({"hardening": "no"}), r"eah_http\.hardening: .*valid boolean.*got 'no'"),
        (arguments({"hardening": False, "body_bytes": 5}), r"eah_http\.body_bytes: has no effect with hardening false"),
        (arguments({"hardening": True}, enable_prompt_embeds=True), "--enable-prompt-embeds reads pickled tensors"),
        (arguments(enable_prompt_embeds=True), "--enable-prompt-embeds reads pickled tensors"),
    ],
)
def test_bad_limits_are_refused_by_name(args: Namespace, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_limits(args)
