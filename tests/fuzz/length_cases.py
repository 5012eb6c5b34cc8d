"""Bodies shorter or longer than they say, chunks that are none, and what is no HTTP at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import FINE, NO_ANSWER, Case
from tests.fuzz.transport_cases import AUTH, GOOD, START, http_case

PLAIN_400: dict[str, Any] = {"expect": (400,), "plain_text": True, "raw": True}


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _lengths()
    yield from _not_http()


def _lengths() -> Iterator[Case]:
    def sized(length: bytes, body: bytes = GOOD) -> bytes:
        return START + AUTH + b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\n" + body

    for length in (b"-1", b"dog", b"1e3", b"99999999999999999999999", b"", b"5, 6", b"0x10"):
        yield http_case(f"length {length.decode()!r}", sized(length), **PLAIN_400)
    yield http_case("length too short", sized(b"10"), raw=True, expect=(400,), mentions=("json", "body"))
    yield http_case("length 0", sized(b"0"), raw=True, expect=(400,))
    yield http_case("no length and no body", START + AUTH + b"Connection: close\r\n\r\n", raw=True, expect=(400, 411))
    yield http_case(
        "length too long, then the end",
        sized(b"%d" % (len(GOOD) + 9)),
        raw=True,
        half=True,
        expect=NO_ANSWER,
        plain_text=True,
        why="the request never ends",
    )
    two = START + AUTH + b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    yield http_case("two lengths", two, **PLAIN_400, why="a proxy may believe the other one")
    both = START + AUTH + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(GOOD) + GOOD
    yield http_case("length and chunks", both, **PLAIN_400, why="a proxy may believe the other one")

    def chunked(body: bytes, encoding: bytes = b"chunked") -> bytes:
        return START + AUTH + b"Connection: close\r\nTransfer-Encoding: " + encoding + b"\r\n\r\n" + body

    yield http_case(
        "chunks", chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)), raw=True, expect=FINE, why="as HTTP says"
    )
    yield http_case(
        "one byte in each chunk",
        chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"),
        raw=True,
        expect=FINE,
        why="as HTTP says",
    )
    yield http_case("a chunk of no size", chunked(b"dog\r\n{}\r\n0\r\n\r\n"), **PLAIN_400)
    yield http_case("a chunk of 2^64", chunked(b"ffffffffffffffff1\r\n{}"), **PLAIN_400)
    yield http_case("a chunk of -1", chunked(b"-1\r\n{}\r\n0\r\n\r\n"), **PLAIN_400)
    yield http_case(
        "chunks that stop",
        chunked(b"%x\r\n%b" % (len(GOOD), GOOD[:9])),
        raw=True,
        half=True,
        expect=NO_ANSWER,
        plain_text=True,
        why="the request never ends",
    )
    yield http_case(
        "headers that stop",
        START + AUTH,
        raw=True,
        half=True,
        expect=NO_ANSWER,
        plain_text=True,
        why="the request never ends",
    )
    yield http_case(
        "an encoding that is not",
        chunked(b"{}", b"dog"),
        raw=True,
        half=True,
        expect=(*NO_ANSWER, 501, 411),
        plain_text=True,
    )


def _not_http() -> Iterator[Case]:
    raw: dict[str, bytes] = {
        "a word": b"dog\r\n\r\n",
        "no method": b" / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "an unknown method": b"DOG / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "HTTP/9.9": b"GET /health HTTP/9.9\r\nHost: HOST\r\n\r\n",
        "a space in a header name": b"GET /health HTTP/1.1\r\nA B: c\r\n\r\n",
        "a NUL in a header": b"GET /health HTTP/1.1\r\nHost: HOST\r\nA: \x00\r\n\r\n",
        "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(100),
        "a header without colon": b"GET /health HTTP/1.1\r\nHost: HOST\r\nnocolon\r\n\r\n",
    }
    for name, body in raw.items():
        yield http_case(name, body, raw=True, half=True, expect=(400, 404, 505), plain_text=True)
    yield http_case(
        "HTTP/2",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        raw=True,
        half=True,
        expect=(400, 404, 505, None),
        plain_text=True,
    )
    yield http_case("nothing", b"", raw=True, half=True, expect=NO_ANSWER, plain_text=True)
    socket = b"GET /v1/chat/completions HTTP/1.1\r\n" + AUTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    socket += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    yield http_case("a web socket", socket, raw=True, half=True, expect=(400, 403, 404, 405, 426), plain_text=True)
