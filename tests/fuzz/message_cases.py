"""Messages, prompts and inputs of the wrong type, or too many of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.fuzz.case import COMPLETIONS, EITHER, FINE, RESPONSES, Case, as_json, chat


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _messages()
    yield from _many()


def _messages() -> Iterator[Case]:
    user = {"role": "user", "content": "dog ?"}
    wrong: dict[str, Any] = {
        "missing": ...,
        "null": None,
        "empty": [],
        "a text": "dog ?",
        "a number": 1,
        "an object": user,
        "[null]": [None],
        "[[]]": [[]],
        "[1]": [1],
        "no role": [{"content": "x"}],
        "role null": [{"role": None, "content": "x"}],
        "role a number": [{"role": 5, "content": "x"}],
        "role a list": [{"role": ["user"], "content": "x"}],
        "content a number": [{"role": "user", "content": 5}],
        "content an object": [{"role": "user", "content": {"a": 1}}],
        "content of numbers": [{"role": "user", "content": [1, 2]}],
        "content of lists": [{"role": "user", "content": [[]]}],
        "text a number": [{"role": "user", "content": [{"type": "text", "text": 5}]}],
        "text null": [{"role": "user", "content": [{"type": "text", "text": None}]}],
        "tool_calls a text": [{"role": "assistant", "content": "x", "tool_calls": "x"}],
        "tool_calls of rubbish": [
            user,
            {"role": "assistant", "content": "x", "tool_calls": [{"function": {"arguments": "{"}}]},
        ],
        "a lone surrogate": [{"role": "user", "content": "dog \ud800 ?"}],
    }
    for name, value in wrong.items():
        yield Case(f"messages: {name}", "messages", as_json(chat(messages=value)))
    loose = "the model's template takes it"
    for name, value in {
        "role unknown": [{"role": "\u202ewizard", "content": "dog ?"}],
        "content null": [user, {"role": "assistant", "content": None}, user],
        "content missing": [{"role": "user"}],
        "content empty": [{"role": "user", "content": ""}],
        "content no parts": [{"role": "user", "content": []}],
        "NUL and controls": [{"role": "user", "content": "\u0000\u0001\u001b[2J\u2028 dog"}],
        "placeholder in the text": [{"role": "user", "content": "<image> <image> dog ?"}],
        "special tokens in the text": [{"role": "user", "content": "</s><s><pad><unk>"}],
        "a thousand combining marks": [{"role": "user", "content": "e" + "\u0301" * 200}],
    }.items():
        yield Case(f"messages: {name}", "messages", as_json(chat(messages=value)), EITHER, why=loose)
    prompts: dict[str, Any] = {
        "missing": ...,
        "null": None,
        "an object": {"a": 1},
        "a number": 7,
        "true": True,
        "[]": [],
        "[[]]": [[]],
        "mixed": ["a", 1],
        "[null]": [None],
        "[[null]]": [[None]],
        "nested": [[["a"]]],
        "floats": [1.5, 2.5],
        "ids too large": [512],
        "an id of 2^31": [1, 2**31],
        "an id of 2^63": [1, 2**63],
        "an id of 10^30": [1, 10**30],
        "a negative id": [1, -1],
        "2000 ids": [5] * 2000,
        "a lone surrogate": "\ud800",
    }
    for name, prompt in prompts.items():
        body = {"model": "scenes", "prompt": prompt, "max_tokens": 2}
        body = {field: value for field, value in body.items() if value is not ...}
        yield Case(f"prompt: {name}", "prompt", as_json(body), path=COMPLETIONS)
    for name, value in {"missing": ..., "null": None, "a number": 1, "[1]": [1], "[{}]": [{}], "an object": {}}.items():
        given = {"model": "scenes", "input": value, "max_output_tokens": 2}
        given = {field: value for field, value in given.items() if value is not ...}
        yield Case(f"input: {name}", "prompt", as_json(given), path=RESPONSES)


def _many() -> Iterator[Case]:
    text = {"type": "text", "text": "dog "}
    says = ("token", "length", "context", "long")
    many = {
        "5000 parts": [{"role": "user", "content": [text] * 5000}],
        "5000 messages": [{"role": "user", "content": "dog"}] * 5000,
    }
    for name, messages in many.items():
        yield Case(f"many: {name}", "many", partial(lambda m: as_json(chat(messages=m)), messages), mentions=says)
    yield Case(
        "many: 100000 unknown fields",
        "many",
        partial(
            lambda: as_json(chat())[:-1] + b"," + json.dumps({f"f{idx}": 1 for idx in range(100_000)}).encode()[1:]
        ),
        FINE,
        why="as one unknown field",
    )
    yield Case(
        "many: 300 prompts",
        "many",
        as_json({"model": "scenes", "prompt": ["dog"] * 300, "max_tokens": 1}),
        EITHER,
        path=COMPLETIONS,
        why="each is good; a server may limit their number",
    )
    yield Case("many: 100000 stop texts", "many", as_json(chat(stop=["x"] * 100_000)), mentions=("stop",))
