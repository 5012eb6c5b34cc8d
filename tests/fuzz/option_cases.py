"""EAH's own options, on every way in, with values that nobody should send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import COMPLETIONS, FINE, RESPONSES, Case, as_json, chat, number, show
from tests.fuzz.pictures import png, url

NUMBERS: dict[str, Any] = {
    "NaN": number("NaN"),
    "Infinity": number("Infinity"),
    "-Infinity": number("-Infinity"),
    "1e400": number("1e400"),
    "-1": -1,
    "10^30": 10**30,
    "2^63": 2**63,
    "4000 digits": 10**4000,
    "1.5": 1.5,
    "1e-400": number("-1e-400"),
}
OTHERS: dict[str, Any] = {
    "a word": "dog",
    "a list of words": ["dog"],
    "an empty list": [],
    "an object": {"a": 1},
    "true": True,
    "an empty text": "",
    "a nested list": [[1]],
    "a list of true": [True],
    "a surrogate": "\ud800",
    "a NUL": "\u0000",
}
GOOD_HERE = {
    "layer": set(),
    "threshold": set(),
    "relative_threshold": {"10^30", "2^63", "1.5"},
    "head": set(),
    "seed": set(),  # without `head: "random"` none is allowed
    "min_density": {"1e-400"},
    "preset": set(),
    "report": set(),
}
"""What is in range although it looks wild: a relative threshold has no upper limit, and -1e-400 reads as 0."""
GOOD_OTHERS = {"report": {"true"}}


def cases() -> Iterator[Case]:
    """All of them."""
    for option, good in GOOD_HERE.items():
        for name, value in (NUMBERS | OTHERS).items():
            fine = name in good or name in GOOD_OTHERS.get(option, ())
            yield Case(
                f"eah.{option}: {name}",
                "eah option",
                as_json(chat(eah={option: value})),
                FINE if fine else (400,),
                () if fine else (option,),
            )
    yield from _field()
    yield from _elsewhere()


def _field() -> Iterator[Case]:
    values: dict[str, Any] = {
        "a word": "yes",
        "1": 1,
        "0.5": 0.5,
        "a list": [True],
        "NaN": number("NaN"),
        "an unknown option": {"layr": 1},
        "vLLM's name": {"eah_layer": 1},
        "the tag": {"tag": "x"},
        "a surrogate": {"\ud800": 1},
        "a NUL": {"\u0000": 1},
        "an empty name": {"": 1},
        "a long name": {"o" * 100_000: 1},
        "__class__": {"__class__": 1},
        "right to left": {"\u202elayer": 1},
        "layer in capitals": {"LAYER": 1},
        "layer 99": {"layer": 99},
        "layers, one too many": {"layer": [0, 1, 99]},
        "100000 layers": {"layer": [1] * 100_000 + [99]},
        "head 8": {"head": 8},
        "both thresholds": {"threshold": 0.1, "relative_threshold": 1},
        "1000 options": {f"o{idx}": idx for idx in range(1000)},
        "an engine setting": {"prefix_reuse": True},
        "threshold 0": {"threshold": 0},
        "threshold 1": {"threshold": 1},
        "min_density 1.01": {"min_density": 1.01},
        "released_code": {"preset": "released_code"},
        "a text of JSON": '{"layer": 1}',
    }
    for name, value in values.items():
        yield Case(f"eah: {name}", "eah field", as_json(chat(eah=value)), mentions=("eah", "surrogates"))
    for name, value in {
        "null": None,
        "no options": {},
        "only null": {"layer": None},
        "layers twice": {"layer": [1, 1]},
        "100000 times layer 1": {"layer": [1] * 100_000},
    }.items():
        yield Case(f"eah: {name}", "eah field", as_json(show(url(png()), eah=value)), FINE, why="good, if odd")


def _elsewhere() -> Iterator[Case]:
    bad = {"eah": {"layer": 99}, "max_tokens": 2, "model": "scenes"}
    user = [{"role": "user", "content": "dog ?"}]
    for path, body in {
        COMPLETIONS: bad | {"prompt": "dog ?"},
        RESPONSES: bad | {"input": "dog ?"},
        "/v1/messages": bad | {"messages": user},
        "/v1/chat/completions/batch": bad | {"messages": [user]},
    }.items():
        yield Case(f"eah elsewhere: {path}", "eah elsewhere", as_json(body), mentions=("eah",), path=path)
    for name, misplaced in {
        "extra_body": {"extra_body": {"eah": True}},
        "an option at the top level": {"eah_layer": 1},
        "capitals": {"EAH": True},
        "metadata": {"metadata": {"eah": "true"}},
        "template": {"chat_template_kwargs": {"eah_layer": 1}},
        "200 objects deep": {"extra_body": _nested(200, {"eah": True})},
        "an option of a megabyte": {"eah_" + "x" * (1 << 20): 1},
    }.items():
        yield Case(f"eah elsewhere: {name}", "eah elsewhere", as_json(chat(**misplaced)), mentions=("EAH", "eah"))
    yield Case(
        "eah elsewhere: beam search", "eah elsewhere", as_json(chat(eah=True, use_beam_search=True)), mentions=("beam",)
    )
    yield Case(
        "eah elsewhere: field and vllm_xargs",
        "eah elsewhere",
        as_json(chat(eah=True, vllm_xargs={"eah": 1})),
        mentions=("vllm_xargs",),
    )


def _nested(depth: int, inside: dict[str, Any]) -> dict[str, Any]:
    for _ in range(depth):
        inside = {"a": inside}
    return inside
