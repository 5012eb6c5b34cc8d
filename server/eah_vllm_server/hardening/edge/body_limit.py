"""ASGI middleware: no request body grows beyond a limit, whatever its headers say, and none is a 500 for its form."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eah_vllm_server.errors import error_response

ITEM_MARKS = (b",", b"[", b"{")
"""A JSON body has no more values than these bytes, and one; they are also in strings, but not in base64."""


class BodyTooLargeError(Exception):
    """Raised into whoever reads the body."""


class BodyLimit:
    """Counts what arrives, so chunked bodies and false lengths are covered; nothing is held back or copied.

    Values are counted as well as bytes: parsed, a body of small lists is thirty times its size, and the event loop
    stands still meanwhile.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_items: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_items = max_items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; or answer it with 413, or with 400 when no answer could repeat its text."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._max_bytes:
            await self._refuse(scope, receive, send, f"{self._max_bytes} bytes (eah_http.body_bytes)")
            return
        is_json = not headers.get("content-type", "").startswith("multipart/")
        body = _Body(receive, send, self._max_bytes, self._max_items if is_json else self._max_bytes)
        problem = ""
        try:
            await self._app(scope, body.receive, body.send)
        except BodyTooLargeError:
            pass
        except (UnicodeEncodeError, RecursionError) as error:
            if body.answered:
                raise
            problem = "nested too deeply" if isinstance(error, RecursionError) else "no Unicode text (a lone surrogate)"
        if body.too_large and not body.answered:
            limit = f"{self._max_items} commas and brackets (eah_http.body_items)"
            if body.bytes_left < 0:
                limit = f"{self._max_bytes} bytes (eah_http.body_bytes)"
            await self._refuse(scope, receive, send, limit)
        elif problem:
            await error_response(HTTPStatus.BAD_REQUEST, f"the request is {problem}")(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, limit: str) -> None:
        # The connection is kept, and the rest of the body read and dropped by uvicorn: closed under a body that is
        # still being sent, it would take the answer along.
        message = f"the request body is larger than {limit}"
        await error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)(scope, receive, send)


class _Body:
    def __init__(self, receive: Receive, send: Send, max_bytes: int, max_items: int) -> None:
        self._receive, self._send = receive, send
        self.bytes_left = max_bytes
        self._items_left = max_items
        self.answered = False

    @property
    def too_large(self) -> bool:
        return self.bytes_left < 0 or self._items_left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        chunk = message.get("body", b"")
        self.bytes_left -= len(chunk)
        self._items_left -= sum(chunk.count(mark) for mark in ITEM_MARKS)
        if self.too_large:
            raise BodyTooLargeError
        return message

    async def send(self, message: Message) -> None:
        if self.too_large and not self.answered:  # FastAPI makes a 400 of whatever fails while it reads a body
            return
        self.answered = True
        await self._send(message)
