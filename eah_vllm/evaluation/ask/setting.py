"""Settings, each one way of asking: EAH off or on, answers verified, another model, captions that end sooner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eah_vllm.evaluation.ask.verify_options import (
    SWITCH,
    VerifyOptionError,
    parse_verify,
    spell_verify,
    verify_body,
)
from eah_vllm.options import EAHOptions, OptionError, parse_options

OFF = "off"
CONTROL_HEADS = ("random", "sparsest")
DRAWS = 5
"""How often a random head is drawn for every picture, unless a setting names its draw (`seed`)."""
_OF_THE_REQUEST = ("model", "end_bias")
RANDOM = "random"
REMOVAL = ",removal="
_NOT_OF_A_FIXED_HEAD = ("threshold", "relative_threshold", "min_density")


class SettingError(ValueError):
    """A setting on the command line cannot be read; the message says what is allowed."""


@dataclass(frozen=True)
class Setting:
    """A setting: how each question of a run is asked once.

    Attributes:
        name: the canonical spelling, which is used in tables and in the answers file.
        eah: options of the request's `eah` field; None leaves the field out.
        model: name of a served model to ask instead of the run's model.
        end_bias: bias that is added to the logit of the end-of-text token (`logit_bias`).
        verify: options of the request's `verify` field; None leaves the field out. Captions alone are asked for with
            it, where the task has any, since a yes or no names nothing that could be checked.
        removal: for the control of a setting with `verify`, which is made from its answers and never asked: the number
            of the draw, or `random` for all draws together.
    """

    name: str
    eah: Mapping[str, Any] | None = field(default=None, hash=False)
    model: str | None = None
    end_bias: float = 0.0
    verify: Mapping[str, Any] | None = field(default=None, hash=False)
    removal: str = ""

    @property
    def asks_for_eah(self) -> bool:
        """Whether the request has a field `eah` that must be answered with a report."""
        return self.eah is not None

    @property
    def lets_eah_choose(self) -> bool:
        """Whether EAH is on and takes the head with most vision sinks; such settings are compared with controls.

        Those that are verified have controls of another kind (`evaluation/checked`).
        """
        return self.eah is not None and self.verify is None and self.eah.get("head", "auto") == "auto"

    @property
    def fixed_head(self) -> int | None:
        """The head that is always used, whatever the sinks are; None where a rule chooses."""
        head = (self.eah or {}).get("head")
        return head if isinstance(head, int) else None

    @property
    def asked(self) -> tuple[Setting, ...]:
        """The settings of its row: itself, or several draws if its head or what it removes is random without a seed."""
        if self.removal == RANDOM:
            return tuple(self.removing(str(draw)) for draw in range(DRAWS))
        if self.eah is None or self.eah.get("head") != "random" or "seed" in self.eah:
            return (self,)
        return tuple(make_setting({**self.eah, "seed": n}, self.model, self.end_bias) for n in range(DRAWS))

    def extra_body(self, end_token_id: int | None) -> dict[str, Any]:
        """Return what is added to the body of a chat completion.

        Raises:
            SettingError: the setting has a bias on the end of text, and no token is known to put it on.
        """
        assert not self.removal, "a control that is made from answers is not asked"
        body: dict[str, Any] = {}
        if self.eah is not None:
            body["eah"] = {**self.eah, "report": True}
        if self.verify is not None:
            body["verify"] = verify_body(self.verify)
        if self.end_bias:
            if end_token_id is None:
                raise SettingError(f"{self.name}: end_bias needs --end-token-id")
            body["logit_bias"] = {str(end_token_id): self.end_bias}
        return body

    def removing(self, draw: str = RANDOM) -> Setting:
        """Return the control of a verified setting that removes as many mentions as it does, drawn at random."""
        name = self.name.partition(REMOVAL)[0]
        return Setting(f"{name}{REMOVAL}{draw}", self.eah, self.model, self.end_bias, self.verify, draw)

    def control(self, head: str | int) -> Setting:
        """Return the setting with another rule for the head, or with a fixed head, which no threshold can change."""
        kept = {
            name: value
            for name, value in (self.eah or {}).items()
            if isinstance(head, str) or name not in _NOT_OF_A_FIXED_HEAD
        }
        return make_setting({**kept, "head": head}, self.model)


def make_setting(
    eah: Mapping[str, Any] | None, model: str | None = None, end_bias: float = 0.0,
    verify: Mapping[str, Any] | None = None,
) -> Setting:  # fmt: skip
    """Make a setting with its canonical name, so that two spellings of one setting are the same setting."""
    parts = [f"{key}={_spell(value)}" for key, value in sorted((eah or {}).items())]
    if not parts and (eah is not None or (model is None and verify is None)):
        parts = [OFF if eah is None else "on"]
    parts += [] if verify is None else [SWITCH, *spell_verify(verify)]
    parts += [f"model={model}"] if model else []
    parts += [f"end_bias={end_bias:g}"] if end_bias else []
    return Setting(",".join(parts), eah, model, end_bias, verify)


def parse_setting(text: str) -> Setting:
    """Read `off`, `on`, or `layer=1,threshold=0.002`; layers `layer=0+2`; `verify`; `model=NAME` and `end_bias=1.5`.

    `on` and options are the request's `eah` field. What stands after the word `verify` are options of its `verify`
    field: `verify,action=rewrite` without EAH, and `on,verify,action=rewrite` with it. `model=NAME` and `end_bias` may
    stand anywhere; `model=NAME` alone asks another served model, for servers that switch EAH by name.

    Raises:
        SettingError: the text cannot be read, or names an option that EAH does not have.
    """
    parts = [part for part in (part.strip() for part in text.split(",")) if part]
    at = parts.index(SWITCH) if SWITCH in parts else len(parts)
    asked = [part for part in parts[at + 1 :] if part.partition("=")[0].strip() not in _OF_THE_REQUEST]
    moved = [part for part in parts[at + 1 :] if part not in asked]
    fields: dict[str, Any] = {}
    switch = None
    for part in parts[:at] + moved:
        if part in ("on", OFF):
            switch = part
            continue
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise SettingError(f"{text!r}: {part!r} is neither on, off, verify nor NAME=VALUE")
        fields[name.strip()] = value.strip()
    model = fields.pop("model", None)
    try:
        verify = parse_verify(asked) if at < len(parts) else None
        end_bias = float(fields.pop("end_bias", 0.0))
        options = {name: _read(name, value) for name, value in fields.items()}
        parse_options(options, "", EAHOptions)
    except (ValueError, OptionError, VerifyOptionError) as error:
        raise SettingError(f"{text!r}: {error}") from None
    if switch == OFF and options:
        raise SettingError(f"{text!r}: EAH is off, and has options")
    if switch is None and not options and model is None and not end_bias and verify is None:
        raise SettingError(f"{text!r}: say on, off, verify or NAME=VALUE,...")
    return make_setting(options if options or switch == "on" else None, model, end_bias, verify)


def controls(settings: Sequence[Setting]) -> list[Setting]:
    """Return, for each setting that lets EAH choose, the settings with another rule for the head."""
    return _controls(settings, CONTROL_HEADS)


def fixed_heads(settings: Sequence[Setting], num_heads: int) -> list[Setting]:
    """Return every fixed head in turn, for each setting that lets EAH choose: they bound what any choice can do."""
    return _controls(settings, range(num_heads))


def _controls(settings: Sequence[Setting], heads: Iterable[str | int]) -> list[Setting]:
    choosing = [setting for setting in settings if setting.lets_eah_choose]
    found = dict.fromkeys(setting.control(head) for setting in choosing for head in heads)
    return [setting for setting in found if setting not in settings]


def _spell(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(name: str, value: str) -> Any:
    if name == "layer" and "+" in value:
        return [int(part) for part in value.split("+")]
    if re.fullmatch(r"[+-]?\d+", value):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value
