"""Bodies that are no JSON, hardly JSON, or JSON of the wrong shape."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.case import EITHER, FINE, Case, as_json, chat

DEEP = 100_000
GOOD = as_json(chat())
SAYS_JSON = ("json", "body", "utf", "decode", "parsing", "TextEncodeInput")


def nested(opening: str, closing: str, inside: str = "1", depth: int = DEEP) -> str:
    """JSON of so many levels."""
    return opening * depth + inside + closing * depth


def put(field: str, text: str, path: str = "") -> bytes:
    """The good request with a field whose JSON is `text`."""
    return GOOD[:-1] + f', "{field}": {text}'.encode() + b"}"


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _broken()
    yield from _deep()


def _broken() -> Iterator[Case]:
    broken: dict[str, bytes] = {
        "empty": b"",
        "a space": b" ",
        "cut": GOOD[:-9],
        "an open string": GOOD[:30],
        "single quotes": b"{'model': 1}",
        "a comma too many": GOOD[:-1] + b",}",
        "two objects": GOOD + GOOD,
        "rubbish behind": GOOD + b"xyz",
        "a comment": b"/* */" + GOOD,
        "invalid UTF-8": GOOD.replace(b"dog", b"\xff\xfe\xfa"),
        "NUL bytes": bytes(100),
        "an overlong NUL": GOOD.replace(b"dog", b"\xc0\x80"),
        "UTF-8 of a surrogate": GOOD.replace(b"dog", b"\xed\xa0\x80"),
        "Latin-1": GOOD.replace(b"dog", b"h\xfcnd"),
        "a raw NUL in a string": GOOD.replace(b"dog", b"d\x00g"),
        "a raw line end in a string": GOOD.replace(b"dog", b"d\ng"),
        "a bad escape": GOOD.replace(b"dog", b"\\x64"),
        "XML": b"<?xml version='1.0'?><model>scenes</model>",
        "a form": b"model=scenes&messages=1",
        "a pickle": b"\x80\x04N.",
        "an int of 5000 digits": put("seed", "1" * 5000),
        "gzip": bytes.fromhex("1f8b08000000000000ff") + bytes(50),
    }
    for name, body in broken.items():
        yield Case(f"json: {name}", "json", body, mentions=(*SAYS_JSON, "required", "missing"))
    for name, body in {
        "null": b"null",
        "a list": b"[]",
        "a text": b'"x"',
        "a number": b"1",
        "true": b"true",
        "NaN": b"NaN",
        "an empty object": b"{}",
    }.items():
        yield Case(f"json: {name}", "json", body, mentions=("required", "valid", "dict", "missing"))
    takes = "Python's JSON reads it, and the request in it is good"
    yield Case("json: UTF-16", "json", GOOD.decode().encode("utf-16"), EITHER, why=takes)
    yield Case("json: UTF-8 with a mark", "json", b"\xef\xbb\xbf" + GOOD, EITHER, why=takes)
    yield Case("json: a key twice", "json", put("max_tokens", "1"), FINE, why="the last one counts, as in most readers")
    yield Case(
        "json: eah twice, the last one bad",
        "json",
        put("eah", '{"layer": 1}, "eah": {"layer": 99}'),
        mentions=("layer",),
    )
    yield Case(
        "json: unknown fields",
        "json",
        put("__proto__", '{"x": 1}, "constructor": []'),
        FINE,
        why="vLLM ignores fields that it does not know, as its documentation says",
    )
    yield Case("json: a key of a megabyte", "json", put("k" * (1 << 20), "1"), FINE, why="as an unknown field")
    yield Case("json: a NUL in a key", "json", put("\\u0000", "1"), FINE, why="as an unknown field")
    yield Case("json: a surrogate in a key", "json", put("\\ud800", "1"), EITHER, why="no Unicode text")


def _deep() -> Iterator[Case]:
    deep_list, deep_object = nested("[", "]"), nested('{"a":', "}")
    yield Case("deep: the body is lists", "deep", deep_list.encode(), mentions=SAYS_JSON)
    yield Case("deep: the body is objects", "deep", deep_object.encode(), mentions=SAYS_JSON)
    yield Case("deep: lists never closed", "deep", b"[" * DEEP, mentions=SAYS_JSON)
    for field in (
        "messages",
        "eah",
        "response_format",
        "chat_template_kwargs",
        "tools",
        "vllm_xargs",
        "stop",
        "no_field",
    ):
        yield Case(f"deep: {field}", "deep", put(field, deep_object), mentions=(*SAYS_JSON, field))
    # Not deep enough for the JSON reader to give up.
    for field in ("eah", "response_format", "chat_template_kwargs", "vllm_xargs", "kv_transfer_params", "no_field"):
        body = put(field, nested('{"a":', "}", depth=400))
        yield Case(f"deep: 400 levels of {field}", "deep", body, EITHER, why="vLLM ignores what it has no use for")
    yield Case("deep: 900 levels, not ours", "deep", put("no_field", nested("[", "]", depth=900)), EITHER)
