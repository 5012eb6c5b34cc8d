"""Grammars, schemas and tools that are wrong, or that cost much to compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import EITHER, Case, as_json, chat


def cases() -> Iterator[Case]:
    """All of them."""
    wrong: dict[str, Any] = {
        "two kinds at once": {"regex": "a", "choice": ["a"]},
        "a regex that does not close": {"regex": "("},
        "a regex of an empty class": {"regex": "[]"},
        "look-behind": {"regex": "(?<=a)b"},
        "a regex that is a number": {"regex": 5},
        "no choice": {"choice": []},
        "choices of numbers": {"choice": [1]},
        "a grammar of nothing": {"grammar": ""},
        "a grammar without root": {"grammar": 'a ::= "b"'},
        "a schema that is a number": {"json": 5},
        "a schema that is no JSON": {"json": "{"},
        "a schema of an unknown type": {"json": {"type": "dog"}},
        "a reference to nowhere": {"json": {"$ref": "#/a/b"}},
        "a tag that is none": {"structural_tag": "{}"},
        "an unknown kind": {"dog": 1},
        "nothing": {},
        "a NUL in a regex": {"regex": 5.5},
    }
    for name, value in wrong.items():
        yield Case(f"structured: {name}", "structured", as_json(chat(structured_outputs=value)), (400,))
    heavy = "refused, or compiled: what counts is that nobody waits"
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    wide = {"type": "object", "properties": {f"p{idx}": {"type": "integer"} for idx in range(2000)}}
    for name, value in {
        "a reference to a file": {"json": {"$ref": "file:///etc/hostname"}},
        "a schema of 200 levels": {"json": deep},
        "a schema of 2000 fields": {"json": wide},
        "repeats in repeats": {"regex": "((a{1,50}){1,50}){1,50}"},
        "alternatives in repeats": {"regex": "(a|aa|aaa|aaaa)+" * 20 + "b"},
        "a million repeats": {"regex": "a{1000000}"},
        "10000 choices": {"choice": [f"dog {idx}" for idx in range(10_000)]},
        "a grammar that calls itself first": {"grammar": 'root ::= root "a" | "b"'},
        "a grammar that is empty in circles": {"grammar": 'root ::= a\na ::= b\nb ::= a | ""'},
        "a regex of 100000 letters": {"regex": "ab" * 50_000},
        "nested brackets": {"regex": "(" * 2000 + "a" + ")" * 2000},
    }.items():
        yield Case(f"structured: {name}", "structured", as_json(chat(structured_outputs=value)), EITHER, why=heavy)
    # vLLM compiles these in the engine, where a failure can only become a 500 (docs/operations.md, limits of vLLM).
    for name, value in {
        "a grammar of an empty rule": {"grammar": "root ::= "},
        "a schema that holds itself": {"json": {"$ref": "#"}},
    }.items():
        why = "vLLM finds the fault only in the engine"
        yield Case(
            f"structured: {name}", "structured", as_json(chat(structured_outputs=value)), (200, 400, 500), why=why
        )
    formats: dict[str, Any] = {
        "a word": "json",
        "no type": {},
        "an unknown type": {"type": "dog"},
        "no schema": {"type": "json_schema"},
        "an empty schema name": {"type": "json_schema", "json_schema": {}},
        "a schema that is a list": {"type": "json_schema", "json_schema": {"name": "a", "schema": [1]}},
    }
    for name, value in formats.items():
        yield Case(f"response_format: {name}", "structured", as_json(chat(response_format=value)), (400,))
    tools: dict[str, Any] = {
        "a word": "dog",
        "[1]": [1],
        "no function": [{"type": "function"}],
        "no name": [{"type": "function", "function": {}}],
        "name a list": [{"type": "function", "function": {"name": ["x"]}}],
    }
    for name, value in tools.items():
        yield Case(f"tools: {name}", "structured", as_json(chat(tools=value)), (400,))
    for name, choice in {
        "a word": "dog",
        "a tool that is not": {"type": "function", "function": {"name": "x"}},
        "required": "required",
    }.items():
        yield Case(f"tool_choice: {name}", "structured", as_json(chat(tool_choice=choice)), (400,))
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "dog"}}}
    yield Case("tools: parameters of no type", "structured", as_json(chat(tools=[bad], tool_choice="required")), EITHER)
