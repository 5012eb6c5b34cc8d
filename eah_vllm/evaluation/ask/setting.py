"""Settings, each one way of asking: methods off or on, answers verified, another model, captions that end sooner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eah_vllm.evaluation.ask.methods import EAH, SEED, random_twin
from eah_vllm.evaluation.ask.verify_options import SWITCH, spell_verify, verify_body

OFF = "off"
CONTROL_HEADS = ("random", "sparsest")
DRAWS = 5
"""How often a random head is drawn for every picture, unless a setting names its draw (`seed`)."""
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
        methods: options of the request's fields of other methods than EAH, by name.
    """

    name: str
    eah: Mapping[str, Any] | None = field(default=None, hash=False)
    model: str | None = None
    end_bias: float = 0.0
    verify: Mapping[str, Any] | None = field(default=None, hash=False)
    removal: str = ""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @property
    def reports(self) -> tuple[str, ...]:
        """The fields of the request that must be answered with a report of what a method did."""
        return (*(() if self.eah is None else (EAH,)), *self.methods)

    @property
    def is_plain(self) -> bool:
        """Whether neither a method nor a check of the answer is asked for, of the run's own model."""
        return not self.reports and self.verify is None and self.model is None

    @property
    def lets_eah_choose(self) -> bool:
        """Whether EAH alone is on and takes the head with most vision sinks; such settings have controls of the head.

        Those that are verified have controls of another kind (`evaluation/checked`), and other methods have twins.
        """
        chooses = self.eah is not None and self.eah.get("head", "auto") == "auto"
        return chooses and self.verify is None and not self.methods

    @property
    def fixed_head(self) -> int | None:
        """The head that is always used, whatever the sinks are; None where a rule chooses."""
        head = (self.eah or {}).get("head")
        return head if isinstance(head, int) else None

    @property
    def asked(self) -> tuple[Setting, ...]:
        """The settings of its row: itself, or several draws if a method or what it removes is random without a seed."""
        if self.removal == RANDOM:
            return tuple(self.removing(str(draw)) for draw in range(DRAWS))
        if self.verify is not None or not any(_is_drawn(name, self._options(name)) for name in self.reports):
            return (self,)
        return tuple(self._draw(number) for number in range(DRAWS))

    @property
    def twin(self) -> Setting | None:
        """The control in which chance takes the place of what the methods choose.

        None where chance chooses already, where nothing is chosen, and where captions are verified.
        """
        found = self._changed(lambda name, said: {} if name == EAH and "head" in said else _twin_options(name))
        return None if found == self or self.verify is not None else found

    def _draw(self, number: int) -> Setting:
        return self._changed(lambda name, said: {SEED: number} if _is_drawn(name, said) else {})

    def _options(self, name: str) -> Mapping[str, Any]:
        return (self.eah or {}) if name == EAH else self.methods[name]

    def _changed(self, more: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]) -> Setting:
        """Return the setting with more options of its methods."""
        said = {name: {**self._options(name), **more(name, self._options(name))} for name in self.reports}
        return make_setting(said.pop(EAH, None), self.model, self.end_bias, self.verify, said)

    def extra_body(self, end_token_id: int | None, *, report: bool = True) -> dict[str, Any]:
        """Return what is added to the body of a chat completion; methods report what they did, unless they need not.

        Raises:
            SettingError: the setting has a bias on the end of text, and no token is known to put it on.
        """
        assert not self.removal, "a control that is made from answers is not asked"
        body: dict[str, Any] = {name: {**self._options(name), "report": report} for name in self.reports}
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
        return replace(self, name=f"{name}{REMOVAL}{draw}", removal=draw)

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
    verify: Mapping[str, Any] | None = None, methods: Mapping[str, Mapping[str, Any]] | None = None,
) -> Setting:  # fmt: skip
    """Make a setting with its canonical name, so that two spellings of one setting are the same setting."""
    methods = dict(sorted((methods or {}).items()))
    parts = _spelled(eah or {})
    if not parts and (eah is not None or (model is None and verify is None and not methods)):
        parts = [OFF if eah is None else "on"]
    for name, options in methods.items():
        parts += [name, *_spelled(options)]
    parts += [] if verify is None else [SWITCH, *spell_verify(verify)]
    parts += [f"model={model}"] if model else []
    parts += [f"end_bias={end_bias:g}"] if end_bias else []
    return Setting(",".join(parts), eah, model, end_bias, verify, methods=methods)


def _twin_options(name: str) -> Mapping[str, Any]:
    return {"head": RANDOM} if name == EAH else random_twin(name) or {}


def _is_drawn(name: str, said: Mapping[str, Any]) -> bool:
    """Whether chance decides for a method, and no draw is named."""
    twin = _twin_options(name)
    return bool(twin) and SEED not in said and all(said.get(option) == value for option, value in twin.items())


def _spelled(options: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_spell(value)}" for name, value in sorted(options.items())]


def _spell(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
