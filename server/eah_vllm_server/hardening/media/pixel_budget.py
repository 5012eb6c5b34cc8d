"""How many pixels one HTTP request may decode, over all its pictures: a body of tiny files can hold gigabytes."""

import threading
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from eah_vllm_server.hardening.media.image_check import ImageRefused


class PixelBudget:
    """Pixels left; the pictures of a request are read in several threads."""

    def __init__(self, pixels: int) -> None:
        self._all = self._left = pixels
        self._lock = threading.Lock()

    def take(self, pixels: int) -> None:
        """Count a picture.

        Raises:
            ImageRefused: the request has too many pixels.
        """
        with self._lock:
            if pixels > self._left:
                raise ImageRefused(
                    f"the pictures of one request may have {self._all} pixels together (eah_http.request_pixels)"
                )
            self._left -= pixels


REQUEST_BUDGET: ContextVar[PixelBudget | None] = ContextVar("eah_request_budget", default=None)


class BudgetPerRequest:
    """ASGI middleware: a new budget for whatever a request's handler and its tasks decode."""

    def __init__(self, app: ASGIApp, pixels: int) -> None:
        self._app = app
        self._pixels = pixels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        token = REQUEST_BUDGET.set(PixelBudget(self._pixels))
        try:
            await self._app(scope, receive, send)
        finally:
            REQUEST_BUDGET.reset(token)
