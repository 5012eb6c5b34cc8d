"""Refuses requests that name EAH or a check in places where nothing reads it.

vLLM ignores fields that it does not know, so a request that asks for EAH or for a check in the wrong place would be
answered without it and without a word about it. Every route of ours refuses it instead and says where the name belongs.
"""

from collections.abc import Iterable
from typing import Any

from eah_vllm.method.registry import METHODS, method_of, with_field
from eah_vllm.options import OptionError, shown
from eah_vllm.wire import is_of
from eah_vllm_server.refusal import refusal, verify_refusal
from eah_vllm_server.verify.options import FIELD as VERIFY
from eah_vllm_server.verify.options import VerifyOptions

XARGS = "vllm_xargs"
EXTRA_BODY = "extra_body"
NOT_SCANNED = frozenset({
    "messages", "input", "prompt", "system", "instructions",
    "tools", "functions", "tool_choice", "function_call",
    "response_format", "structured_outputs", "text", "output_config", "json_schema", "schema",
})  # fmt: skip
"""Fields with text for the model or with a user's own schemas, in which these names may mean anything."""


CHECK_NAMES = frozenset({VERIFY, *(f"{VERIFY}_{option}" for option in VerifyOptions.model_fields)})


def refuse_misplaced(fields: Any) -> Any:
    """Refuse a body, not yet validated, that names EAH or a check where nothing reads it; return any other one."""
    if isinstance(fields, dict):
        for path in _misplaced(fields):
            error = OptionError(_spelled(path), _advice(path))
            raise verify_refusal(error) if _is_check(path[-1]) else refusal(error)
    return fields


def _misplaced(fields: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths at which EAH is named wrongly, in nested objects; lists hold messages, tools and so on."""
    methods = with_field().keys()
    found: list[tuple[str, ...]] = []
    unseen: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), fields)]
    while unseen and not found:
        above, inside = unseen.pop()
        for name, value in inside.items():
            path = (*above, name)
            if not above and (name in methods or name == VERIFY):
                continue  # this name is in its place; whoever reads it checks it
            in_xargs = above == (XARGS,)  # EAH's options may be here, and whoever reads them checks them
            if _is_check(name) or (_is_any(methods, name) and not in_xargs) or (name == XARGS and EXTRA_BODY in above):
                found.append(path)
            elif isinstance(value, dict) and name not in NOT_SCANNED and not in_xargs:
                unseen.append((path, value))
    return found


def _is_any(methods: Iterable[str], name: str) -> bool:
    lowered = name.lower()
    return any(is_of(method, lowered) for method in methods)


def _is_check(name: str) -> bool:
    return name.lower() in CHECK_NAMES


def _spelled(path: tuple[str, ...]) -> str:
    """Return the path as an error shows it; a name that is a megabyte long is shortened."""
    return ".".join(name if len(name) <= 100 else shown(name) for name in path[-4:])


def _advice(path: tuple[str, ...]) -> str:
    if EXTRA_BODY in path[:-1]:
        return (
            f"{EXTRA_BODY} is an argument of the openai client and no field of the request; put what it holds at the "
            "top level of the body"
        )
    if _is_check(path[-1]):
        return (
            f"a check is not asked for here; send the field {VERIFY} at the top level of the body: true, false or an "
            f'object of options, as in "{VERIFY}": {{"action": "report"}}'
        )
    method = method_of(path[-1])
    example = '{"layer": 1, "report": true}' if "layer" in METHODS[method].Options.model_fields else '{"report": true}'
    return (
        f"{method.upper()} is not read here; send the field {method} at the top level of the "
        f'body: true, false or an object of options, as in "{method}": {example}'
    )
