"""HTTP itself: methods, headers, lengths and encodings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import CHAT, FINE, JSON_TYPE, Case, as_json, chat

GOOD = as_json(chat())
AUTH = b"Host: HOST\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n"
START = b"POST /v1/chat/completions HTTP/1.1\r\n"


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _methods()
    yield from _types()
    yield from _headers()


def http_case(name: str, body: bytes, **more: Any) -> Case:
    """A case about HTTP."""
    return Case(f"http: {name}", "http", body, **more)


def _methods() -> Iterator[Case]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        yield http_case(f"{method} of a POST route", b"", method=method, expect=(405,))
    yield http_case("HEAD of a POST route", b"", method="HEAD", expect=(405,), plain_text=True, why="HEAD has no body")
    for method in ("PUT", "DELETE", "POST"):
        yield http_case(f"{method} of /v1/eah", b"", method=method, path="/v1/eah", expect=(405,))
    for path in (
        "/v1/eah/x",
        "/v1/eahh",
        "/v1/chat/completions/../../v1/none",
        "//v1/chat/completions",
        "/%00",
        "/v1/%2e%2e/x",
        "/v1/none?" + "a" * 30_000,
        "/" + "a" * 30_000,
        "/v1/eah%0d%0aX:1",
    ):
        yield http_case(f"no such path: {path[:40]}", b"", method="GET", path=path, expect=(404,))
    yield http_case(
        "a query that is ignored", GOOD, path=CHAT + "?eah=1&" + "x=1&" * 500, expect=FINE, why="the body counts"
    )


def _types() -> Iterator[Case]:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "image/png",
        "application/jsonx",
        "json",
        "",
    ):
        yield http_case(
            f"content type {kind!r}",
            GOOD,
            headers=(("Content-Type", kind),),
            expect=(400, 415),
            mentions=("application/json",),
        )
    yield http_case("no content type", GOOD, headers=(), expect=(400, 415), mentions=("application/json",))
    yield http_case(
        "content type in capitals", GOOD, headers=(("Content-Type", "APPLICATION/JSON; Charset=UTF-8"),), expect=FINE
    )
    yield http_case(
        "gzip said, JSON sent",
        GOOD,
        headers=(JSON_TYPE, ("Content-Encoding", "gzip")),
        expect=(200, 400, 415),
        why="the header is ignored",
    )
    yield http_case(
        "another character set said",
        GOOD,
        headers=(("Content-Type", "application/json; charset=utf-16"),),
        expect=(200, 400),
        why="JSON is UTF-8 (RFC 8259), the parameter means nothing",
    )


def _headers() -> Iterator[Case]:
    for value in ("", "Bearer", "Bearer wrong", "Basic eDp5", "bearer \x01", "Bearer " + "k" * 60_000):
        head = START + AUTH.replace(b"Bearer KEY", value.encode()) + b"Content-Length: %d\r\nConnection: close\r\n\r\n"
        yield http_case(
            f"authorization {value[:20]!r}",
            head % len(GOOD) + GOOD,
            raw=True,
            expect=(401, 400),
            plain_text=True,  # vLLM's own middleware is outside ours: {"error": "Unauthorized"}
        )
    yield http_case(
        "no authorization",
        START + b"Host: HOST\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        raw=True,
        expect=(401,),
        plain_text=True,
    )
    for name, value, expect in (
        ("X-Request-Id", "x" * 60_000, (200, 400)),
        ("X-Request-Id", "../../a", FINE),
        ("X-Request-Id", "\xff\xfe", (200, 400)),
        ("X-data-parallel-rank", "dog", (200, 400)),
        ("X-data-parallel-rank", "99", (200, 400)),
        ("X-data-parallel-rank", "-1", (200, 400)),
        ("Accept", "image/png", FINE),
        ("Cookie", "a=" + "b" * 60_000, (200, 400)),
        ("X-Forwarded-For", "127.0.0.1, '; drop", FINE),
        ("traceparent", "00-zz-zz-zz", FINE),
        ("Range", "bytes=5-1", FINE),
        ("endpoint-load-metrics-format", "dog", FINE),
        ("Origin", "http://evil.invalid", FINE),
        ("Expect", "100-continue", FINE),
    ):
        yield http_case(
            f"{name}: {value[:20]!r}",
            GOOD,
            headers=(JSON_TYPE, (name, value)),
            expect=expect,
            why="not looked at, or refused",
        )
    many = tuple((f"X-{idx}", "y") for idx in range(5000))
    yield http_case("5000 headers", GOOD, headers=(JSON_TYPE, *many), expect=(200, 400, 431), plain_text=True)
    yield http_case(
        "a header of 5 MB",
        GOOD,
        headers=(JSON_TYPE, ("X-Long", "y" * 5_000_000)),
        expect=(200, 400, 431),
        plain_text=True,
        why="within what vLLM allows, or refused",
    )
