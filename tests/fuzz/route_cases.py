"""Wrong fields on the routes beside chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import CLOSED, COMPLETIONS, EITHER, REFUSED, RESPONSES, TOKENS, Case, as_json, number


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _tokens()
    yield from _responses()


def _tokens() -> Iterator[Case]:
    wrong: dict[str, Any] = {
        "no ids": {"token_ids": []},
        "ids too large": {"token_ids": [512]},
        "negative ids": {"token_ids": [-1]},
        "an id of 2^40": {"token_ids": [2**40]},
        "an id of 10^30": {"token_ids": [10**30]},
        "words": {"token_ids": ["a"]},
        "2000 ids": {"token_ids": [5] * 2000},
        "no sampling": {"sampling_params": ...},
        "sampling a text": {"sampling_params": "x"},
        "temperature NaN": {"sampling_params": {"temperature": number("NaN")}},
        "stop ids out of range": {"sampling_params": {"stop_token_ids": [10**6]}},
        "a pickle as picture": {
            "features": {
                "mm_hashes": {"image": ["a"]},
                "mm_placeholders": {"image": [{"offset": 0, "length": 2}]},
                "kwargs_data": {"image": ["gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu"]},
            }
        },
        "a picture never seen": {
            "features": {"mm_hashes": {"image": ["a"]}, "mm_placeholders": {"image": [{"offset": 0, "length": 2}]}}
        },
        "a placeholder past the end": {
            "features": {"mm_hashes": {"image": ["a"]}, "mm_placeholders": {"image": [{"offset": 1, "length": 10**9}]}}
        },
        "a message": {"content_parts": [{"type": "image_url", "image_url": {"url": "file:///etc/hostname"}}]},
        "one forced token too large": {"sampling_params": {"trace_decode_token_ids": [512]}},
        "a salt of 2000 letters": {"cache_salt": "s" * 2000},
    }
    for name, fields in wrong.items():
        body = {"token_ids": [1, 5], "sampling_params": {"max_tokens": 1}} | fields
        body = {field: value for field, value in body.items() if value is not ...}
        yield Case(f"tokens: {name}", "tokens", as_json(body), CLOSED, path=TOKENS)
    for name, ids in {"negative": [-1], "too large": [512], "2^32": [2**32], "10^30": [10**30], "words": ["a"]}.items():
        yield Case(
            f"detokenize: {name}",
            "tokens",
            as_json({"model": "scenes", "tokens": ids}),
            EITHER if name == "too large" else REFUSED,
            path="/detokenize",
        )
    for name, prompt in {"a list": [1], "null": None, "a surrogate": "\ud800"}.items():
        yield Case(f"tokenize: {name}", "tokens", as_json({"model": "scenes", "prompt": prompt}), path="/tokenize")


def _responses() -> Iterator[Case]:
    good = {"model": "scenes", "input": "dog ?", "max_output_tokens": 2}
    wrong: dict[str, Any] = {
        "temperature NaN": {"temperature": number("NaN")},
        "no tokens": {"max_output_tokens": 0},
        "tool of no type": {"tools": [{}]},
        "truncation": {"truncation": "dog"},
        "top_logprobs": {"top_logprobs": 10**9},
        "text format": {"text": {"format": {"type": "json_schema"}}},
        "a prompt id": {"prompt": 5},
    }
    for name, fields in wrong.items():
        yield Case(
            f"responses: {name}",
            "odd value",
            as_json(good | fields),
            EITHER if name == "top_logprobs" else REFUSED,
            path=RESPONSES,
        )
    for name in ("resp_none", "x", "../../etc", "\u0000"):
        yield Case(
            f"responses: after {name!r}",
            "odd value",
            as_json(good | {"previous_response_id": name}),
            (400, 404),
            path=RESPONSES,
        )
    yield Case(
        "completion: echo and all logprobs",
        "odd value",
        as_json({"model": "scenes", "prompt": "dog", "echo": True, "logprobs": 10**9, "max_tokens": 1}),
        path=COMPLETIONS,
    )
    yield Case(
        "completion: suffix",
        "odd value",
        as_json({"model": "scenes", "prompt": "dog", "suffix": "x"}),
        path=COMPLETIONS,
    )
    yield Case(
        "completion: prompt_embeds, a pickle",
        "odd value",
        as_json({"model": "scenes", "prompt_embeds": "gAVLAS4=", "max_tokens": 1}),
        path=COMPLETIONS,
    )
