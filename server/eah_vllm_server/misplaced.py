"""EAH's names in places where nobody reads them.

vLLM ignores fields that it does not know, so a request that asks for EAH in the wrong place would be answered without
EAH and without a word. Every route of ours refuses it instead and says where the name belongs.
"""

from typing import Any

from eah_vllm.options import WIRE_NAME, WIRE_PREFIX, OptionError, shown
from eah_vllm_server.refusal import refusal

XARGS = "vllm_xargs"
EXTRA_BODY = "extra_body"
NOT_SCANNED = frozenset({
    "messages", "input", "prompt", "system", "instructions",
    "tools", "functions", "tool_choice", "function_call",
    "response_format", "structured_outputs", "text", "output_config", "json_schema", "schema",
})  # fmt: skip
"""What a user writes for the model, and schemas of the user's own: there these names may mean anything."""


def refuse_misplaced(fields: Any) -> Any:
    """Refuse a request body, not yet validated, that names EAH where it is not read; returns any other as it is."""
    if isinstance(fields, dict):
        for path in _misplaced(fields):
            raise refusal(OptionError(_spelled(path), _advice(path)))
    return fields


def _misplaced(fields: dict[str, Any]) -> list[tuple[str, ...]]:
    """Where EAH is named wrongly, in objects within objects; lists hold messages, tools and the like."""
    found: list[tuple[str, ...]] = []
    unseen: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), fields)]
    while unseen and not found:
        above, inside = unseen.pop()
        for name, value in inside.items():
            path = (*above, name)
            if not above and name in (WIRE_NAME, XARGS):
                continue  # in its place; checked by whoever reads it
            if _is_ours(name) or (name == XARGS and EXTRA_BODY in above):
                found.append(path)
            elif isinstance(value, dict) and name not in NOT_SCANNED:
                unseen.append((path, value))
    return found


def _is_ours(name: str) -> bool:
    lowered = name.lower()
    return lowered == WIRE_NAME or lowered.startswith(WIRE_PREFIX)


def _spelled(path: tuple[str, ...]) -> str:
    """The path as an error shows it, without the megabyte that somebody may have sent as a name."""
    return ".".join(name if len(name) <= 100 else shown(name) for name in path[-4:])


def _advice(path: tuple[str, ...]) -> str:
    if EXTRA_BODY in path[:-1]:
        return (
            f"{EXTRA_BODY} is an argument of the openai client and no field of the request; put what it holds at the "
            "top level of the body"
        )
    return (
        f"EAH is not read here; send the field {WIRE_NAME} at the top level of the body: true, false or an object of "
        f'options, as in "{WIRE_NAME}": {{"layer": 1, "report": true}}'
    )
