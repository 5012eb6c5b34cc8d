"""Limits the pictures and pixels of one HTTP request: small files can hold gigabytes of pixels.

vLLM processes the pictures of all requests in one thread, so this also bounds how long one request can keep others
waiting.
"""

import threading
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.image_check import ImageRefused

LONG = 4
"""A processor scales the shorter side of a picture to a fixed length. One that is longer than this many times its
width becomes as large as several ordinary ones, and counts as so many."""


class PixelBudget:
    """The pictures and pixels that one request may still bring; its pictures are read in several threads."""

    def __init__(self, limits: HTTPLimits) -> None:
        self._limits = limits
        self._pixels: int = limits.request_pixels
        self._pictures: float = limits.request_pictures
        self._lock = threading.Lock()

    def take(self, width: int, height: int) -> None:
        """Count a picture against the budget; `width` and `height` are in pixels.

        Raises:
            ImageRefused: the request has too many pictures or pixels.
        """
        pictures = max(1, max(width, height) / min(width, height) / LONG)
        with self._lock:
            if pictures > self._pictures:
                raise ImageRefused(
                    f"one request may have {self._limits.request_pictures} pictures (eah_http.request_pictures); a "
                    f"long one counts several times"
                )
            if width * height > self._pixels:
                most = self._limits.request_pixels
                raise ImageRefused(
                    f"the pictures of one request may have {most} pixels together (eah_http.request_pixels)"
                )
            self._pictures -= pictures
            self._pixels -= width * height


REQUEST_BUDGET: ContextVar[PixelBudget | None] = ContextVar("eah_request_budget", default=None)


class BudgetPerRequest:
    """ASGI middleware that gives each request a new budget, which holds for its handler and the handler's tasks."""

    def __init__(self, app: ASGIApp, limits: HTTPLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a budget of its own."""
        token = REQUEST_BUDGET.set(PixelBudget(self._limits))
        try:
            await self._app(scope, receive, send)
        finally:
            REQUEST_BUDGET.reset(token)
