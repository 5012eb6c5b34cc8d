"""ASGI middleware that gives every error of Anthropic's routes the form of Anthropic's API, whoever answers it.

vLLM gives that form only to what its handler refuses. A request that is refused before (for a bad body, a limit, a full
queue) is answered in OpenAI's form, as on all other routes.
"""

import json
from http.client import responses as REASONS
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = frozenset({"/v1/messages", "/v1/messages/count_tokens"})


class AnthropicErrors:
    """Rewrites the JSON of answers with a status of 400 or more; everything else passes untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and rewrite the error that answers it, if one does."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        concerns = scope["type"] == "http" and path in PATHS
        await self._app(scope, receive, _Answer(send).send if concerns else send)


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        """The start of an error's answer, held back until its body is known."""
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                body = _rewritten(self._body, self._start["status"])
                MutableHeaders(scope=self._start)["Content-Length"] = str(len(body))
                await self._send(self._start)
                await self._send({"type": "http.response.body", "body": body})


def _rewritten(body: bytes, status: int) -> bytes:
    try:
        answer: Any = json.loads(body)
    except ValueError:  # no JSON, so no error of ours or of vLLM's
        return body
    if not isinstance(answer, dict) or "type" in answer:
        return body
    # Middleware of vLLM writes a text in place of the object, and Starlette another name.
    error = answer.get("error", answer.get("detail"))
    if isinstance(error, str):
        error = {"type": REASONS.get(status, "Error"), "message": error}
    if not isinstance(error, dict):
        return body
    shape = {"type": "error", "error": {"type": error.get("type"), "message": error.get("message")}}
    return json.dumps(shape, ensure_ascii=False, separators=(",", ":")).encode()
