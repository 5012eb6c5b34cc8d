"""Gives up clients that stall: with 408 while they send a request, by closing the connection while they read an answer.

uvicorn waits for ever in both cases, and also when it shuts down.
"""

import asyncio
import logging

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eah_vllm_server.gate import refusals
from eah_vllm_server.hardening.limits import HTTPLimits

CONNECTION_SECONDS = 3
"""Seconds for which the server, once it has ended its work, waits for connections to close."""
logger = logging.getLogger("vllm.eah")


class SlowClientsMiddleware:
    """ASGI middleware that bounds both waits by `client_timeout` of `HTTPLimits`, in seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with both waits bounded."""
        if scope["type"] == "lifespan":
            server = getattr(scope["app"].state, "server", None)
            if server is not None:  # uvicorn's; by default it would wait for the slowest client
                server.config.timeout_graceful_shutdown = CONNECTION_SECONDS
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits: HTTPLimits = scope["app"].state.http_limits
        client = _Client(receive, send, limits.client_timeout)
        await self._app(scope, client.receive, client.send)


class _Client:
    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive, self._send, self._seconds = receive, send, seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._body_complete = self._too_late = False
        self._gone = asyncio.Event()
        """Set when the client read nothing for too long; the app then sees a disconnect, which ends its generators."""

    async def receive(self) -> Message:
        """Return the next message. The whole body must arrive in time: a byte a second is not enough."""
        if self._body_complete:
            return await self._receive_or_gone()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._too_late = True
            refusals().labels(reason="slow_body").inc()
            raise HTTPException(408, f"The request's body did not arrive in {self._seconds:g} seconds.") from None
        self._body_complete = not message.get("more_body", False)
        return message

    async def _receive_or_gone(self) -> Message:
        message, gone = asyncio.ensure_future(self._receive()), asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((message, gone), return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else {"type": "http.disconnect"}
        finally:
            message.cancel()
            gone.cancel()

    async def send(self, message: Message) -> None:
        """Write a message; this waits for the client only while the buffer is full."""
        if self._gone.is_set():
            return  # as uvicorn does: now the generator itself is cancelled, in its own wait, and is so closed
        if self._too_late and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            self._gone.set()
            refusals().labels(reason="slow_reader").inc()
            logger.warning("A client took nothing of its answer for %g s and is cut off.", self._seconds)
