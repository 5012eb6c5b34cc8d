"""Limits the requests under way in this process, and lets no new ones in while it ends: they get 503, `Retry-After`.

vLLM's own `--max-num-queued-reqs` looks at a request twice, before and after its picture is read. Of requests that
come at once, all pass the first look, and a stream that fails the second has already been answered with 200. Here a
request is counted from its headers to the last byte of its answer, so a refusal is always a 503 and costs no reading.
"""

import asyncio
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import Counter
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eah_vllm_server.errors import error_response

if TYPE_CHECKING:
    from vllm.config import SchedulerConfig

RETRY_AFTER = "1"
"""Seconds. A client need not know more about the load; that is its load balancer's task."""
HEALTH = ("/health", "/ping")
LEAST_LIMIT = 256
ROUNDS = 4
"""Requests under way for each request that the engine runs at once: none waits for more than three rounds of others."""


@cache
def refusals() -> Counter:
    """Return this process's counter; Prometheus allows only one of a name."""
    return Counter("eah_http_refusals", "Requests turned away unread (503) or given up (408, cut off).", ["reason"])


def request_limit(scheduler: "SchedulerConfig") -> int:
    """Return `--max-num-queued-reqs`, or a default in proportion to the requests that the engine runs at once."""
    if scheduler.max_num_queued_reqs is not None:
        return scheduler.max_num_queued_reqs
    return max(LEAST_LIMIT, ROUNDS * scheduler.max_num_seqs)


class Gate:
    """Counts the requests under way in this process, each from its headers to the last byte of its answer."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.engine_limit: int | None = None
        """What the engine itself takes, `--max-num-queued-reqs`; beyond it, it refuses what a check asks."""
        self.closed = False
        """Whether the server is ending and refuses new requests."""
        self.under_way = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """Count a request as under way."""
        self.under_way += 1
        self._empty.clear()

    def leave(self) -> None:
        """Count a request as answered; the last one wakes those who wait for an empty gate."""
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()

    def borrow(self, wanted: int) -> int:
        """Take free places for requests that the server makes itself for one under way, and return how many.

        Such a request may always use the place of the one that it is made for; so it never waits for others to leave.
        """
        limit = self.engine_limit if self.limit is None else self.limit
        free = wanted if limit is None else max(0, min(wanted, limit - self.under_way))
        self.under_way += free
        return free

    def give_back(self, places: int) -> None:
        """Return borrowed places."""
        self.under_way -= places

    async def wait_until_empty(self) -> None:
        """Return when no request is under way."""
        await self._empty.wait()


class GateMiddleware:
    """ASGI middleware that counts and limits POSTs, which generate; of GETs only health fails, as the server ends."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gate, is_post = self._gate, scope["method"] == "POST"
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if gate.closed and (is_post or path in HEALTH):
            if is_post:  # a probe gets the same answer, but counts as no refused request
                refusals().labels(reason="shutting_down").inc()
            response = _refusal("the server is shutting down; send this to another one")
            await response(scope, receive, send)
        elif is_post and gate.limit is not None and gate.under_way >= gate.limit:
            refusals().labels(reason="queue_full").inc()
            response = _refusal(f"the server has {gate.limit} requests under way; try again later")
            await response(scope, receive, send)
        elif is_post:
            gate.enter()
            try:
                await self._app(scope, receive, _with_retry_after(send))
            finally:
                gate.leave()
        else:
            await self._app(scope, receive, send)


def _refusal(message: str) -> Response:
    # The connection is kept open: if it were closed while the body is still being sent, the answer would be lost.
    response = error_response(HTTPStatus.SERVICE_UNAVAILABLE, message)
    response.headers["Retry-After"] = RETRY_AFTER
    return response


def _with_retry_after(send: Send) -> Send:
    """Add `Retry-After` to vLLM's own refusals (queue limits, a dead engine), which do not say when to come back."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 503:
            MutableHeaders(scope=message).setdefault("Retry-After", RETRY_AFTER)
        await send(message)

    return sending
