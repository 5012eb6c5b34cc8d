"""The options of the request's field `verify` as they are written on a command line; the server alone judges them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SWITCH = "verify"
LISTS = ("objects", "yes", "no")
"""Options that are lists; their elements have `+` between them."""
_WORDS = {"true": True, "false": False}


class VerifyOptionError(ValueError):
    """An option of `verify` cannot be read; the message says what is allowed."""


def parse_verify(parts: Iterable[str]) -> dict[str, Any]:
    """Read `action=rewrite`, `threshold=0.3`, `objects=cat+dog`, and `objects=@FILE`.

    A file that is named after an `@` has the value of the option: JSON if its name ends in `.json`, text otherwise. So
    a list of objects with synonyms can be given, and a question with a comma.

    Raises:
        VerifyOptionError: a part is not `NAME=VALUE`, or a file cannot be read.
    """
    options = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise VerifyOptionError(f"{part!r} is not an option of verify of the form NAME=VALUE")
        options[name] = _read(name, value)
    verify_body(options)
    return options


def spell_verify(options: Mapping[str, Any]) -> list[str]:
    """Return the canonical spelling of the options, by which two spellings of the same options are the same."""
    return [f"{name}={_spell(value)}" for name, value in sorted(options.items())]


def verify_body(options: Mapping[str, Any]) -> dict[str, Any] | bool:
    """Return the value of the request's field `verify`: true without any option, and with the contents of files.

    Raises:
        VerifyOptionError: a file cannot be read.
    """
    return {name: _file(name, value) for name, value in options.items()} or True


def _file(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    path = Path(value[1:])
    try:
        text = path.read_text(encoding="utf-8").strip()
        return json.loads(text) if path.suffix == ".json" else text
    except (OSError, ValueError) as error:
        raise VerifyOptionError(f"{name}={value}: {error}") from None


def _read(name: str, value: str) -> Any:
    if value.startswith("@"):
        return value
    if name in LISTS:
        return value.split("+")
    if value in _WORDS:
        return _WORDS[value]
    return number_or_text(value)


def number_or_text(value: str) -> int | float | str:
    """Read a value of a setting: an integer, another number, or a text."""
    if re.fullmatch(r"[+-]?\d+", value):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value


def _spell(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
