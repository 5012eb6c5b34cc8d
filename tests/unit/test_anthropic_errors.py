"""Errors of Anthropic's routes, whoever answers them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eah_vllm_server.anthropic_errors import AnthropicErrors
from eah_vllm_server.hardening.edge.body_limit import BodyLimit
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.unit.test_edge import BODY, JSON, ask

OPENAI = {"error": {"message": "not so: \u00e9", "type": "BadRequestError", "param": "x", "code": 400}}
ANTHROPIC = {"type": "error", "error": {"type": "BadRequestError", "message": "not so: \u00e9"}}


def app_that_answers(response: Response, path: str = "/v1/messages") -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.post(path)
    async def answer(body: dict[str, Any]) -> Any:
        return response

    return app


def test_an_error_is_rewritten_and_its_headers_fit() -> None:
    async def in_two_parts(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(OPENAI)[:9].encode(), "more_body": True})
        await send({"type": "http.response.body", "body": json.dumps(OPENAI)[9:].encode()})

    for app in (app_that_answers(JSONResponse(OPENAI, 400)), in_two_parts):
        status, headers, body = ask(AnthropicErrors(app), "/v1/messages", BODY, **JSON)
        assert (status, json.loads(body), headers["content-length"]) == (400, ANTHROPIC, str(len(body)))


@pytest.mark.parametrize("name", ["error", "detail"])
def test_a_text_in_place_of_an_object_is_the_message(name: str) -> None:
    """So answer vLLM's own middleware (a missing key, scaling) and Starlette (405, no JSON)."""
    app = AnthropicErrors(app_that_answers(JSONResponse({name: "not so"}, 401)))
    status, _, body = ask(app, "/v1/messages", BODY, **JSON)
    error = {"type": "Unauthorized", "message": "not so"}
    assert (status, json.loads(body)) == (401, {"type": "error", "error": error})


@pytest.mark.parametrize(
    "response",
    [JSONResponse(OPENAI), JSONResponse(ANTHROPIC, 400), Response("no JSON", 500), JSONResponse(["a list"], 400)],
)
def test_everything_else_stays(response: Response) -> None:
    app = app_that_answers(response)
    sent = ask(app, "/v1/messages", BODY, **JSON)
    assert ask(AnthropicErrors(app), "/v1/messages", BODY, **JSON) == sent


def test_other_paths_keep_their_form() -> None:
    app = AnthropicErrors(app_that_answers(JSONResponse(OPENAI, 400), "/v1/chat/completions"))
    assert json.loads(ask(app, "/v1/chat/completions", BODY, **JSON)[2]) == OPENAI


def test_limits_in_front_of_the_route_answer_in_its_form() -> None:
    app = AnthropicErrors(BodyLimit(app_that_answers(JSONResponse({})), len(BODY) - 1, 9))
    status, _, body = ask(app, "/v1/messages", BODY, **JSON)
    answer = json.loads(body)
    assert (status, answer["type"]) == (413, "error")
    assert "eah_http.body_bytes" in answer["error"]["message"]
