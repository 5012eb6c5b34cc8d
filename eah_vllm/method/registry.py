"""The methods that requests may ask for, by name."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from eah_vllm.method.base import Method
from eah_vllm.method.clva import CLVA
from eah_vllm.method.eah import EAH
from eah_vllm.method.inspect import Inspect
from eah_vllm.method.vhr import VHR
from eah_vllm.options import MethodOptions, OptionError
from eah_vllm.settings import MethodSettings, ModelShape
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
    """Return the methods that the flat options of a request ask for, in the order of `METHODS`; none: it is plain.

    Raises:
        OptionError: an option is bad.
    """
    found = []
    for method in METHODS.values():
        asked = from_extra_args(extra_args, method.name, method.Options)
        found += [Asked(method, *asked)] if asked is not None else []
    return tuple(found)


def resolve_all(
    asked: Iterable[Asked], defaults: Mapping[str, MethodOptions], shape: ModelShape, *, flat: bool = False
) -> dict[str, MethodSettings]:
    """Return the settings of all methods of one request, by name, once it is sure that the request can be answered.

    Args:
        asked: the methods, with what the caller said of each.
        defaults: the server's defaults of the methods that are enabled there.
        shape: sizes of the model.
        flat: whether the caller spells an option `NAME_option`, as in the flat form, and not `NAME.option`.

    Raises:
        OptionError: a method is not enabled, an option is impossible for this model, or two methods exclude each other.
    """
    settings = {}
    for one in asked:
        name = one.method.name
        check_enabled(name, defaults)
        settings[name] = one.method.resolve(one.options, defaults[name], shape, f"{name}{'_' if flat else '.'}")
    check_together(settings)
    return settings


def check_enabled(name: str, enabled: Collection[str]) -> None:
    """Refuse a method that the server has not enabled.

    Raises:
        OptionError: the method is not among the enabled ones.
    """
    if name not in enabled:
        methods = [one for one in with_field() if one in enabled or one == name]
        advice = f"--additional-config '{json.dumps({'eah': {'methods': methods}})}'"
        raise OptionError(name, f"is not enabled on this server; start it with {advice} to enable it")


def check_together(settings: Mapping[str, MethodSettings]) -> None:
    """Refuse methods of one request that exclude each other, by their resolved settings.

    Raises:
        OptionError: two of them act in one decoder layer, or one only reads, so that it would see the others' work.
    """
    for first, second in combinations(settings, 2):
        for name, other in ((first, second), (second, first)):
            if not METHODS[name].changes_kv:
                raise OptionError(name, f"cannot be combined with {other}; send one of them")
        shared = sorted(set(settings[first].layers) & set(settings[second].layers))
        if shared:
            layers = ", ".join(map(str, shared))
            raise OptionError(
                second, f"cannot share a decoder layer with {first}, got {layers} for both; name other layers for one"
            )
