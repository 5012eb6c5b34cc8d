"""ASGI middleware: limits the size of a request body, whatever its headers say; no body's form leads to a 500."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eah_vllm_server.errors import error_response

ITEM_MARKS = (b",", b"[", b"{")
"""A JSON body has at most one value more than it has of these bytes. Strings may hold them too, but base64 does not."""


class BodyTooLargeError(Exception):
    """The body is larger than the limit; raised into whoever reads it."""


class BodyLimit:
    """Counts the bytes that arrive, so chunked bodies and false lengths are covered; it holds back and copies nothing.

    It counts values as well as bytes: once parsed, a body of small lists takes thirty times its size, and the event
    loop stands still while it is parsed.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_items: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_items = max_items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, answer it with 413, or with 400 when its text is such that no answer could repeat it."""
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
        # The connection is kept open, and uvicorn reads and drops the rest of the body: if it were closed while the
        # body is still being sent, the answer would be lost.
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
        if self.too_large and not self.answered:  # drops FastAPI's 400 for whatever fails while it reads a body
            return
        self.answered = True
        await self._send(message)
