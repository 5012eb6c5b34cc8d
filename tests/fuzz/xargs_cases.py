"""The flat form of the options in `vllm_xargs`, and names in it that our own parts use among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import CHAT, CLOSED, EITHER, FINE, REFUSED, TOKENS, Case, as_json, chat, number, show
from tests.fuzz.pictures import png, url

FLAT: dict[str, dict[str, Any]] = {
    "layer 99": {"eah": 1, "eah_layer": 99},
    "layer a word": {"eah": 1, "eah_layer": "dog"},
    "layer a list of words": {"eah": 1, "eah_layer": ["a", "b"]},
    "layer 10^30": {"eah": 1, "eah_layer": 10**30},
    "an unknown option": {"eah": 1, "eah_layr": 1},
    "options without eah": {"eah_layer": 1},
    "eah is a word": {"eah": "dog"},
    "eah is 2": {"eah": 2},
    "eah is a list": {"eah": [1]},
    "threshold NaN": {"eah": 1, "eah_threshold": number("NaN")},
    "threshold infinite": {"eah": 1, "eah_threshold": number("1e400")},
    "our record": {"eah": 1, "eah_record": "x"},
    "a name of a megabyte": {"eah": 1, "eah_" + "x" * (1 << 20): 1},
    "empty option": {"eah": 1, "eah_": 1},
    "an engine setting": {"eah": 1, "eah_prefix_reuse": 1},
    "a surrogate": {"eah": 1, "eah_\ud800": 1},
}
"""The flat form, as `vllm_xargs` carries it; all wrong."""
TAGS: dict[str, Any] = {
    "a list": [1],
    "a number": 7,
    "empty": "",
    "a megabyte": "t" * (1 << 20),
    "a surrogate": "\ud800",
}

SAYS = ("eah", "vllm_xargs", "extra_args", "surrogates", "scale-out")


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _flat()
    yield from _internal()


def _flat() -> Iterator[Case]:
    for name, xargs in FLAT.items():
        yield Case(
            f"xargs: {name}", "xargs", as_json(chat(vllm_xargs=xargs)), mentions=("eah", "vllm_xargs", "surrogates")
        )
        body = {"token_ids": [1, 5], "sampling_params": {"max_tokens": 1, "extra_args": xargs}}
        yield Case(
            f"xargs, token route: {name}",
            "xargs",
            as_json(body),
            expect=CLOSED,
            path=TOKENS,
            mentions=("eah", "extra_args", "scale-out"),
        )
    for name, xargs in {
        "a list": [1],
        "a text": "eah=1",
        "an object in it": {"a": {"b": 1}},
        "null in it": {"a": None},
        "an integer of 80 bits": {"a": 2**80},
    }.items():
        yield Case(f"xargs: {name}", "xargs", as_json(chat(vllm_xargs=xargs)), mentions=("xargs", "extra_args"))


def _internal() -> Iterator[Case]:
    """Names that our own parts use among themselves: a caller who writes them must not reach those parts."""
    for name, tag in TAGS.items():
        flat = {"eah": 1, "eah_report": 1, "eah_tag": tag}
        fine = name == "a surrogate"  # one character; it names nothing
        for route, path, body in (
            ("chat", CHAT, show(url(png()), vllm_xargs=flat)),
            ("tokens", TOKENS, {"token_ids": [1, 5], "sampling_params": {"max_tokens": 1, "extra_args": flat}}),
        ):
            expect = EITHER if fine else REFUSED
            expect = (*expect, 403) if path == TOKENS else expect
            says = () if fine else ("eah_tag", "scale-out")
            yield Case(f"internal: tag is {name}, {route}", "internal", as_json(body), expect, says, path=path)
    user = [{"role": "user", "content": "dog ?"}]
    for path, body in {
        "/v1/chat/completions/batch": {"messages": [user]},
        "/v1/messages": {"messages": user},
    }.items():
        body |= {"model": "scenes", "max_tokens": 2, "vllm_xargs": {"eah": 1, "eah_tag": [1]}}
        yield Case(
            f"internal: tag is a list, {path}",
            "internal",
            as_json(body),
            EITHER,
            path=path,
            why="refused, or vllm_xargs is no field of this route",
        )
    for name, record in {"a text": "x", "a list": [[0, 1]], "an object": {"1": 5}, "a number": 3}.items():
        flat = {"eah": 1, "eah/record": record}
        body = {"token_ids": [1, 5], "sampling_params": {"max_tokens": 1, "extra_args": flat}}
        yield Case(
            f"internal: record is {name}",
            "internal",
            as_json(body),
            (*EITHER, 403),
            path=TOKENS,
            why="overwritten by the scheduler",
        )
    yield Case(
        "internal: one tag, twice at once",
        "internal",
        as_json(chat(n=2, temperature=1, vllm_xargs={"eah": 1, "eah_report": 1, "eah_tag": "same"})),
        FINE,
        why="each answer keeps its report",
        path=CHAT,
    )
