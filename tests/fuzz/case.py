"""One hostile request: how it goes over the wire, and what a client may expect of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz.pictures import png, url

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
TOKENS = "/inference/v1/generate"

FINE = (200,)
REFUSED = (400,)
EITHER = (200, 400)
"""Bytes changed at random: whether a picture is left is the decoder's business, as long as it is one of these."""
CLOSED = (400, 403)
"""A route that is there only with `--enable-scale-out`: refused for that, or for what is wrong."""
NO_ANSWER = (None, 400, 408)
"""A request that never ends: closing the connection is an answer."""

DESCRIBE = "Please describe this image in detail."
GOOD_URL = url(png())
"""The good picture as `chat` and `show` send it; `tests.fuzz.fresh` puts new ones in its place."""
JSON_TYPE = ("Content-Type", "application/json")
Body = bytes | Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """`body` may be a function, so that large ones live only while they are sent."""

    name: str
    category: str
    body: Body
    expect: tuple[int | None, ...] = REFUSED
    mentions: tuple[str, ...] = ()
    """The message must hold one of these words (in any case)."""
    why: str = ""
    """Why this is the right answer, where it is not plain."""
    path: str = CHAT
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = (JSON_TYPE,)
    raw: bool = False
    """`body` is the whole request, with HOST and KEY in it to be filled in."""
    half: bool = False
    """The client says no more after the last byte, and waits."""
    plain_text: bool = False
    """Refused before HTTP is understood, so the answer is no JSON."""
    same_answer: bool = False
    """It shows the good request's picture, so the answer must be that one's."""

    def payload(self) -> bytes:
        """The body, made now."""
        return self.body() if callable(self.body) else self.body

    def wire(self, host: str, key: str) -> Iterator[bytes]:
        """The bytes to send."""
        payload = self.payload()
        if self.raw:
            yield payload.replace(b"HOST", host.encode()).replace(b"KEY", key.encode())
            return
        headers = [("Host", host), ("Connection", "close"), ("Authorization", f"Bearer {key}"), *self.headers]
        if self.method not in ("GET", "HEAD") and not any(name == "Content-Length" for name, _ in headers):
            headers.append(("Content-Length", str(len(payload))))
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        yield "\r\n".join(lines).encode("latin-1")
        yield payload


def number(text: str) -> str:
    """A number as it stands in the body; `json.dumps` could not write it."""
    return f"@@{text}@@"


def as_json(body: Any) -> bytes:
    """JSON with the numbers of `number`, NaN and lone surrogates."""
    return re.sub(r'"@@(.*?)@@"', r"\1", json.dumps(body)).encode()


def chat(**fields: Any) -> dict[str, Any]:
    """A small good chat request with a picture, some fields replaced; `...` leaves one out."""
    parts = [{"type": "image_url", "image_url": {"url": GOOD_URL}}, {"type": "text", "text": "is there a dog ?"}]
    body = {"model": "scenes", "messages": [{"role": "user", "content": parts}]}
    body |= {"max_tokens": 2, "temperature": 0} | fields
    return {name: value for name, value in body.items() if value is not ...}


def show(url: Any, text: str = DESCRIBE, **fields: Any) -> dict[str, Any]:
    """A chat request with one picture."""
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return chat(messages=[{"role": "user", "content": parts}], **({"max_tokens": 16} | fields))


def unique(cases: Iterable[Case]) -> list[Case]:
    """The cases, in order.

    Raises:
        ValueError: two have one name.
    """
    found: dict[str, Case] = {}
    for case in cases:
        if case.name in found:
            raise ValueError(f"two cases are called {case.name!r}")
        found[case.name] = case
    return list(found.values())
