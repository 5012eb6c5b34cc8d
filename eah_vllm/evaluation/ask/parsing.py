"""Reads settings as they are written on a command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eah_vllm.evaluation.ask.methods import EAH, beside_eah, read_options
from eah_vllm.evaluation.ask.setting import OFF, Setting, SettingError, make_setting
from eah_vllm.evaluation.ask.verify_options import SWITCH, VerifyOptionError, number_or_text, parse_verify
from eah_vllm.options import EAHOptions, OptionError, parse_options

_OF_THE_REQUEST = ("model", "end_bias")


def parse_setting(text: str) -> Setting:
    """Read `off`, `on`, `layer=1,threshold=0.002`, another method such as `NAME,layers=1+3`, `verify`, or several.

    `on` and options are the request's field `eah`. What stands after the name of a method are options of its field,
    and what stands after the word `verify` options of the field `verify`: `verify,action=rewrite` without a method, and
    `on,verify,action=rewrite` with EAH. `model=NAME` and `end_bias` may stand anywhere; `model=NAME` alone asks another
    served model, for servers that switch EAH by name.

    Raises:
        SettingError: the text cannot be read, or names an option that the method does not have.
    """
    parts = [part for part in (part.strip() for part in text.split(",")) if part]
    at = parts.index(SWITCH) if SWITCH in parts else len(parts)
    asked = [part for part in parts[at + 1 :] if part.partition("=")[0].strip() not in _OF_THE_REQUEST]
    moved = [part for part in parts[at + 1 :] if part not in asked]
    try:
        verify = parse_verify(asked) if at < len(parts) else None
        switch, of_request, said = _sorted_parts(text, parts[:at] + moved)
        end_bias = float(of_request.get("end_bias", 0.0))
        options = {name: _read(name, value) for name, value in said.pop(EAH).items()}
        parse_options(options, "", EAHOptions)
        methods = {name: read_options(name, fields) for name, fields in said.items()}
    except (ValueError, OptionError, VerifyOptionError) as error:
        raise error if isinstance(error, SettingError) else SettingError(f"{text!r}: {error}") from None
    model = of_request.get("model")
    if switch == OFF and options:
        raise SettingError(f"{text!r}: EAH is off, and has options")
    if switch is None and not options and model is None and not end_bias and verify is None and not methods:
        raise SettingError(f"{text!r}: say on, off, verify, a method or NAME=VALUE,...")
    return make_setting(options if options or switch == "on" else None, model, end_bias, verify, methods)


def _sorted_parts(text: str, parts: Iterable[str]) -> tuple[str | None, dict[str, str], dict[str, dict[str, str]]]:
    """Return the switch, the fields of the request, and the options of each method by name, EAH always among them."""
    switch: str | None = None
    of_request: dict[str, str] = {}
    said: dict[str, dict[str, str]] = {EAH: {}}
    method = EAH
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and value:
            (of_request if name in _OF_THE_REQUEST else said[method])[name] = value
        elif part in ("on", OFF, EAH):
            switch, method = OFF if part == OFF else "on", EAH
        elif not equals and part in (known := beside_eah()):
            method = part
            said.setdefault(method, {})
        else:
            methods = ", ".join([EAH, *known]) if not equals else "a method"
            raise SettingError(f"{text!r}: {part!r} is neither on, off, verify nor {methods} nor NAME=VALUE")
    return switch, of_request, said


def _read(name: str, value: str) -> Any:
    if name == "layer" and "+" in value:
        return [int(part) for part in value.split("+")]
    return number_or_text(value)
