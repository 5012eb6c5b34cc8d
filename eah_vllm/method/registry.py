"""The methods that requests may ask for, by name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eah_vllm.method.base import Method
from eah_vllm.method.clva import CLVA
from eah_vllm.method.eah import EAH
from eah_vllm.method.inspect import Inspect
from eah_vllm.method.vhr import VHR
from eah_vllm.options import MethodOptions, OptionError
from eah_vllm.wire import from_extra_args, is_of

METHODS: dict[str, Method] = {"eah": EAH(), "vhr": VHR(), "clva": CLVA(), "inspect": Inspect()}
"""Every method. Another package adds its own with `register`, from a `vllm.general_plugins` entry point."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A method that a request asks for."""

    method: Method
    options: MethodOptions
    tag: str | None


def register(method: Method) -> None:
    """Add a method; it must be called alike in every process, and may be called twice.

    Raises:
        ValueError: the name is malformed, or belongs to another method.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*", method.name):
        raise ValueError(f"the name of a method consists of lower-case letters and digits, got {method.name!r}")
    known = METHODS.setdefault(method.name, method)
    if type(known) is not type(method):
        raise ValueError(f"{method.name!r} is the name of two methods: {type(known)!r} and {type(method)!r}")


def with_field() -> dict[str, Method]:
    """Return the methods that a field and an alias of their name switch on; the others have routes of their own."""
    return {name: method for name, method in METHODS.items() if method.has_field}


def method_of(field: str) -> str:
    """Return the method that a field of a request belongs to, by its path; `eah` where it belongs to none."""
    parts = field.lower().split(".")
    return next((name for name in METHODS if any(is_of(name, part) for part in parts)), "eah")


def asked_for(extra_args: Mapping[str, Any] | None) -> tuple[Asked, ...]:
    """Return the method that the flat options of a request ask for; None for a plain request.

    Raises:
        OptionError: an option is bad, or there is more than one method.
    """
    found = []
    for method in METHODS.values():
        asked = from_extra_args(extra_args, method.name, method.Options)
        found += [Asked(method, *asked)] if asked is not None else []
    return tuple(found)


def only_one(found: Sequence[Asked]) -> Asked | None:
    """Return the one method of a request, None where there is none.

    Raises:
        OptionError: there is more than one.
    """
    if len(found) > 1:
        first, second, *_ = (asked.method.name for asked in found)
        raise OptionError(second, f"cannot be combined with {first}; send one of them")
    return found[0] if found else None
