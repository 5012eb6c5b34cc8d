"""How a method and its options travel to the engine: flat, in `SamplingParams.extra_args` (and `vllm_xargs`).

A method named `m` is switched on by the name `m`, and its options are `m_layer`, `m_report` and so on.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from eah_vllm.options import CallerOptions, MethodOptions, OptionError, Options, parse_options, shown

TAG_FIELD = "tag"
MAX_TAG = 128

SWITCH = {1: True, 0: False, "1": True, "0": False, "true": True, "false": False}
"""How the flat form spells true and false; the values True and False are found here too, as equal to 1 and 0."""
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})([.][0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
"""Pattern of a JSON number, which the flat form may hold as a text."""


def _switch(value: Any) -> Any:
    return SWITCH.get(value, value) if isinstance(value, int | str) else value


def _from_flat(schema: type[CallerOptions], name: str, value: Any) -> Any:
    """Turn a value of the flat form into a value of the typed form."""
    if isinstance(value, list):
        return [_from_flat(schema, name, item) for item in value]
    if name in schema.model_fields and schema.model_fields[name].annotation in (bool, bool | None):
        return _switch(value)
    return json.loads(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def is_of(method: str, name: str) -> bool:
    """Whether a name of the flat form belongs to a method."""
    return name == method or name.startswith(method + "_")


def to_extra_args(method: str, options: MethodOptions, tag: str | None = None) -> dict[str, Any]:
    """Return the flat form of a method with `options`."""
    said = options.model_dump(exclude_none=True)
    flat: dict[str, Any] = {method: 1} | {f"{method}_{name}": value for name, value in said.items()}
    return flat if tag is None else flat | {f"{method}_{TAG_FIELD}": tag}


def from_extra_args(
    extra_args: Mapping[str, Any] | None, method: str, schema: type[Options]
) -> tuple[Options, str | None] | None:
    """Read the flat form of a method back: options and report tag, or None when the method is off.

    Many callers can send only numbers and texts. So true and false may be 1 and 0, and a number may be a text;
    otherwise the types are those of the typed form.

    Raises:
        OptionError: a name of the method is unknown, a value is bad, or there are options without the method's name.
    """
    flat = {name: value for name, value in (extra_args or {}).items() if is_of(method, name)}
    if not flat:
        return None
    if method not in flat:
        raise OptionError(next(iter(flat)), f"is set but `{method}` is not; send {method}=1 to switch it on")
    switch = _switch(flat.pop(method))
    if not isinstance(switch, bool):
        raise OptionError(method, f"must be true or false (1 or 0), got {shown(switch)}")
    prefix = method + "_"
    tag = flat.pop(prefix + TAG_FIELD, None)
    if tag is not None and not (isinstance(tag, str) and 0 < len(tag) <= MAX_TAG):
        raise OptionError(prefix + TAG_FIELD, f"must be a string of 1 to {MAX_TAG} characters, got {shown(tag)}")
    named = {name.removeprefix(prefix): value for name, value in flat.items()}
    options = parse_options({name: _from_flat(schema, name, value) for name, value in named.items()}, prefix, schema)
    return (options, tag) if switch else None
