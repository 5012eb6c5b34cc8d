"""The options that a caller may set: one schema, and the flat form in which they travel to the engine."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

WIRE_NAME = "eah"
WIRE_PREFIX = "eah_"
TAG_FIELD = "tag"
MAX_TAG = 128
RECORD_FIELD = "eah/record"
"""Field on requests that EAH changes: the name of their record (`reuse/prefix_records.py`), or None."""
REASON_FIELD = "eah/reason"
"""Field on requests that ask for EAH and cannot get it: the reason."""
PRIVATE_FIELDS = (RECORD_FIELD, REASON_FIELD)
"""Fields that our scheduler sets for our workers; whatever a caller puts there is removed."""

MAX_SEED = 2**32 - 1

HeadRule = Literal["auto", "sparsest", "random"]
PresetName = Literal["paper", "released_code"]


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, list) and any(isinstance(item, bool) for item in value)):
        raise ValueError("must be a number, not a boolean")
    return value


LayerIdx = Annotated[int, Field(ge=0)]


class EAHOptions(BaseModel):
    """EAH options as a caller writes them; `None` means that the caller has not set the option.

    Types are exactly those of JSON: a number is no text, an integer has no fraction (2, never 2.0), true is not 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    layer: Annotated[
        LayerIdx | Annotated[list[LayerIdx], Field(min_length=1)] | None, BeforeValidator(_refuse_bool)
    ] = Field(None, description="decoder layer or layers, 0-based")
    threshold: Annotated[float | None, BeforeValidator(_refuse_bool)] = Field(
        None, gt=0, lt=1, description="vision-sink threshold: mean attention received per later row, unitless"
    )
    relative_threshold: Annotated[float | None, BeforeValidator(_refuse_bool)] = Field(
        None, gt=0, description="threshold as a multiple of 1/S for a prompt of S tokens; excludes `threshold`"
    )
    head: Annotated[HeadRule | Annotated[int, Field(ge=0)] | None, BeforeValidator(_refuse_bool)] = Field(
        None, description="rule that chooses the source head, or a fixed head, 0-based"
    )
    seed: Annotated[int | None, BeforeValidator(_refuse_bool)] = Field(
        None, ge=0, le=MAX_SEED, description='which draw of a random head; only beside `head: "random"`'
    )
    min_density: Annotated[float | None, BeforeValidator(_refuse_bool)] = Field(
        None, ge=0, le=1, description="least share of image tokens that must be sinks of the source head (gamma)"
    )
    preset: PresetName | None = Field(None, description="starting values of the options not said")
    report: bool | None = Field(None, description="return what was done")

    @field_validator("seed")
    @classmethod
    def _seed_of_a_random_head(cls, seed: int | None, info: ValidationInfo) -> int | None:
        if seed is not None and info.data.get("head") != "random":
            raise ValueError('must stand beside head: "random", which alone draws')
        return seed

    @model_validator(mode="after")
    def _one_threshold(self) -> "EAHOptions":
        if self.threshold is not None and self.relative_threshold is not None:
            raise ValueError("threshold and relative_threshold exclude each other: send one of them")
        return self

    def over(self, base: "EAHOptions") -> "EAHOptions":
        """Return these options, with those of `base` for whatever is not set here."""
        said = self.model_dump(exclude_none=True)
        rest = base.model_dump(exclude_none=True)
        if "threshold" in said or "relative_threshold" in said:
            rest.pop("threshold", None)
            rest.pop("relative_threshold", None)
        if "head" in said:
            rest.pop("seed", None)  # the base's seed belongs to the base's head
        return EAHOptions(**{**rest, **said})


class EngineDefaults(EAHOptions):
    """Fields of `--additional-config '{"eah": {...}}'`: server-wide defaults of the options, and engine settings."""

    chunked_prefill: bool = Field(
        True, description="false: no prompt is split, of any request, and a step has room for the longest one"
    )

    prefix_reuse: bool = Field(
        False, description="EAH prompts may read the prefix cache, with the source head chosen when it was written"
    )

    @classmethod
    def engine_fields(cls) -> set[str]:
        """Return the names of the fields that are settings of the engine and no options of a request."""
        return set(cls.model_fields) - set(EAHOptions.model_fields)

    def options(self) -> EAHOptions:
        """Return the option defaults alone."""
        return EAHOptions(**self.model_dump(include=set(EAHOptions.model_fields)))


class OptionError(ValueError):
    """An option is impossible; the message names the field, what is allowed and what was sent."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def shown(value: object) -> str:
    """Format a value for an error message, shortened in case somebody sent megabytes."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


SWITCH = {1: True, 0: False, "1": True, "0": False, "true": True, "false": False}
"""How the flat form spells true and false; the values True and False are found here too, as equal to 1 and 0."""
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})([.][0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
"""Pattern of a JSON number, which the flat form may hold as a text."""


def _switch(value: Any) -> Any:
    return SWITCH.get(value, value) if isinstance(value, int | str) else value


def _from_flat(name: str, value: Any) -> Any:
    """Turn a value of the flat form into a value of the typed form."""
    if isinstance(value, list):
        return [_from_flat(name, item) for item in value]
    if name == "report":
        return _switch(value)
    return json.loads(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def to_extra_args(options: EAHOptions, tag: str | None = None) -> dict[str, Any]:
    """Return the flat form of EAH with `options`, which travels in `SamplingParams.extra_args` (and `vllm_xargs`)."""
    said = options.model_dump(exclude_none=True)
    flat: dict[str, Any] = {WIRE_NAME: 1} | {WIRE_PREFIX + name: value for name, value in said.items()}
    return flat if tag is None else flat | {WIRE_PREFIX + TAG_FIELD: tag}


def from_extra_args(extra_args: Mapping[str, Any] | None) -> tuple[EAHOptions, str | None] | None:
    """Read the flat form back: options and report tag, or None when EAH is off.

    Many callers can send only numbers and texts. So true and false may be 1 and 0, and a number may be a text;
    otherwise the types are those of the typed form.

    Raises:
        OptionError: an `eah_*` name is unknown, a value is bad, or there are `eah_*` options without `eah`.
    """
    flat = {
        name: value for name, value in (extra_args or {}).items() if name == WIRE_NAME or name.startswith(WIRE_PREFIX)
    }
    if not flat:
        return None
    if WIRE_NAME not in flat:
        raise OptionError(next(iter(flat)), "is set but `eah` is not; send eah=1 to switch EAH on")
    switch = _switch(flat.pop(WIRE_NAME))
    if not isinstance(switch, bool):
        raise OptionError(WIRE_NAME, f"must be true or false (1 or 0), got {shown(switch)}")
    tag = flat.pop(WIRE_PREFIX + TAG_FIELD, None)
    if tag is not None and not (isinstance(tag, str) and 0 < len(tag) <= MAX_TAG):
        raise OptionError(WIRE_PREFIX + TAG_FIELD, f"must be a string of 1 to {MAX_TAG} characters, got {shown(tag)}")
    named = {name.removeprefix(WIRE_PREFIX): value for name, value in flat.items()}
    options = parse_options({name: _from_flat(name, value) for name, value in named.items()}, WIRE_PREFIX)
    return (options, tag) if switch else None


def parse_options(fields: Mapping[str, Any], prefix: str = "eah.") -> EAHOptions:
    """Validate option fields; `prefix` is how the caller spells their names.

    Raises:
        OptionError: an option is bad; the message names the first bad field, what is allowed, and what was sent.
    """
    unknown = sorted(set(fields) - set(EAHOptions.model_fields))
    if unknown:
        raise OptionError(prefix + unknown[0], f"unknown option; known are {', '.join(EAHOptions.model_fields)}")
    try:
        return EAHOptions(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "relative_threshold"
        raise OptionError(
            prefix + field, f"{first['msg'].removeprefix('Value error, ')}, got {shown(fields.get(field))}"
        ) from None
