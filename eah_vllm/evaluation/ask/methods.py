"""The methods beside EAH that a setting may ask for, as the registry has them: options and random twins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eah_vllm.options import parse_options

if TYPE_CHECKING:
    from eah_vllm.method.base import Method

EAH = "eah"
SEED = "seed"


class MethodError(ValueError):
    """No such method can be asked for; the message says why."""


def beside_eah() -> dict[str, Method]:
    """Return the methods that a request's field of their name switches on, without EAH.

    Raises:
        MethodError: torch is missing, without which no method can be imported.
    """
    try:
        # Not at the top: it imports torch, which takes seconds, and which a machine that only asks may not have.
        from eah_vllm.method.registry import with_field
    except ModuleNotFoundError as error:
        raise MethodError(f"settings with other methods than EAH need {error.name} here") from error
    return {name: method for name, method in with_field().items() if name != EAH}


def read_options(method: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """Read options of a method from their texts; the parts of a list have `+` between them.

    Raises:
        OptionError: the method does not have an option, or a value is bad.
    """
    schema = beside_eah()[method].Options
    properties = schema.model_json_schema()["properties"]
    said = {name: _read(value, _is_list(properties.get(name, {}))) for name, value in fields.items()}
    parse_options(said, f"{method}.", schema)
    return said


def random_twin(method: str) -> Mapping[str, Any] | None:
    """Return the options that make a method's random twin; None for a method without one."""
    return beside_eah()[method].random_twin


def _is_list(schema: Mapping[str, Any]) -> bool:
    """Whether an option is a list and never a single value."""
    kinds = {one.get("type") for one in schema.get("anyOf", [schema])} - {"null"}
    return kinds == {"array"}


def _read(text: str, is_list: bool) -> Any:
    if is_list or "+" in text:
        return [_scalar(part) for part in text.split("+")]
    return _scalar(text)


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else value
