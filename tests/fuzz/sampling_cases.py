"""vLLM's own numbers and lists, out of range and of the wrong type: an answer that holds for a client of ours too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import EITHER, FINE, REFUSED, Case, as_json, chat, number, show
from tests.fuzz.pictures import png, url

WILD: dict[str, Any] = {
    "NaN": number("NaN"),
    "Infinity": number("Infinity"),
    "1e400": number("1e400"),
    "10^30": 10**30,
    "-7": -7,
    "a word": "dog",
    "a list": [1],
    "an object": {"a": 1},
}
FIELDS: dict[str, set[str]] = {
    "temperature": set(),
    "top_p": set(),
    "min_p": set(),
    "top_k": set(),
    "max_tokens": set(),
    "n": set(),
    "seed": {"-7"},
    "presence_penalty": set(),
    "frequency_penalty": set(),
    "repetition_penalty": set(),
    "min_tokens": set(),
    "top_logprobs": set(),
    "prompt_logprobs": set(),
    "truncate_prompt_tokens": set(),
    "priority": {"-7"},
    "length_penalty": {"-7"},
    "max_completion_tokens": set(),
}
"""Numeric fields, and what wild values they take: a seed, a priority or a penalty may be negative."""
LOGPROBS = {"logprobs": True}
SAYS: dict[str, tuple[str, ...]] = {
    "repetition_detection": ("pattern",),
    "chat_template": ("chat template",),
    "max_completion_tokens": ("max_tokens",),
    "top_logprobs": ("logprobs",),
    "top_k": ("ints",),
}

ODD: dict[str, Any] = {
    "temperature": [2.1, -0.1, None],
    "top_p": [0, 1.1],
    "n": [0, 20_000],
    "length_penalty": [51, -1e7],
    "max_tokens": [0],
    "top_logprobs": [-2, 21],
    "logprobs": ["dog", 7],
    "stop": [[""], [1], {"a": 1}],
    "stop_token_ids": [[-1], [512], [2**63], [10**30], "x", [None]],
    "allowed_token_ids": [[], [-1], [512], [2**63], [1.5]],
    "bad_words": [[""], "dog", [1], ["dog"] * 100_000],
    "logit_bias": [{"-1": 1}, {"512": 1}, {"dog": 1}, {"1": "x"}, {"1": None}, [1], {str(2**63): 1}, {"\ud800": 1}],
    "logprob_token_ids": [[-1], [512], [2**63], list(range(500))],
    "min_tokens": [3],
    "stream": ["dog", 5],
    "stream_options": [{"include_usage": True}, "x"],
    "truncate_prompt_tokens": [-2, 2**63],
    "cache_salt": ["", 5, ["x"], "\u0000", "\ud800", "s" * (1 << 20)],
    "request_id": [5, ["x"]],
    "guided_regex": [5],
    "thinking_token_budget": [-5, "x"],
    "repetition_detection": [{"max_pattern_size": 10**9, "min_count": 0}, "x", {"max_pattern_size": -1}],
    "chat_template": ["{{ 1 }}", "{% for a in range(10**9) %}{% endfor %}"],
    "chat_template_kwargs": ["x", [1]],
    "mm_processor_kwargs": [
        "x",
        {"size": {"shortest_edge": 3000}},
        {"crop_size": {"height": 640, "width": 640}},
        {"do_resize": False},
        {"images": []},
    ],
    "media_io_kwargs": [
        "x",
        {"image": {"image_mode": None}},
        {"image": {"image_mode": "dog"}},
        {"image": {"rgba_background_color": [1, 2]}},
        {"image": 5},
        {"video": {"num_frames": 10**9}},
    ],
    "documents": ["x", [1]],
    "echo": ["x"],
    "user": [5],
    "add_generation_prompt": ["x"],
    "service_tier": [5],
    "kv_transfer_params": ["x"],
    "prompt_embeds": ["gAVLAS4="],
    "vllm_xargs": ["x"],
    "return_token_ids": ["x"],
}
"""Single values; each may be refused, or be taken where vLLM documents that it is."""
TAKEN = {
    ("temperature", 2): "null is as if left out",
    ("prompt_embeds", 0): "no field of chat",
    ("guided_regex", 0): "no field",
    ("cache_salt", 3): "a NUL is a character",
    ("documents", 0): "",
    ("service_tier", 0): "no field of chat",
    ("bad_words", 3): "one word, said often",
    ("cache_salt", 5): "bounded by the limit of the body",
}


def cases() -> Iterator[Case]:
    """All of them."""
    for field, good in FIELDS.items():
        for name, value in WILD.items():
            more = LOGPROBS if field == "top_logprobs" else {}
            if field in ("repetition_penalty", "n", "seed", "top_k", "top_p", "min_p"):
                more = {"temperature": 1}
            fine = name in good
            yield Case(
                f"{field}: {name}",
                "number",
                as_json(chat(**{field: value, **more})),
                FINE if fine else REFUSED,
                () if fine else (field, *SAYS.get(field, ())),
            )
    for field, values in ODD.items():
        for idx, value in enumerate(values):
            why = TAKEN.get((field, idx))
            more = LOGPROBS if "logprob" in field and field != "logprobs" else {}
            shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:40]}..."
            yield Case(
                f"{field} = {shown}",
                "odd value",
                as_json(chat(**{field: value, **more})),
                EITHER if why is not None else (400,),
                () if why is not None else (field, *SAYS.get(field, ())),
                why=why or "",
            )
    for length in (0, 1, 50):
        body = show(url(png()), truncate_prompt_tokens=length)
        says = ("truncate_prompt_tokens",)
        yield Case(f"truncate_prompt_tokens = {length}, with a picture", "odd value", as_json(body), mentions=says)
