"""What a caller may ask of EAH: one schema, its flat wire form, its defaults and its cache identity."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

WIRE_NAME = "eah"
WIRE_PREFIX = "eah_"
TAG_FIELD = "tag"
METHOD_VERSION = "1"
"""Part of every fingerprint: raise it when the method starts to write other KV for equal options."""

HeadRule = Literal["auto", "sparsest", "random"]
PresetName = Literal["paper", "released_code"]


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, list) and any(isinstance(item, bool) for item in value)):
        raise ValueError("must be a number, not a boolean")
    return value


LayerIdx = Annotated[int, Field(ge=0)]


class EAHOptions(BaseModel):
    """EAH options as a caller writes them; `None` means "not said"."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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
    min_density: Annotated[float | None, BeforeValidator(_refuse_bool)] = Field(
        None, ge=0, le=1, description="least share of image tokens that must be sinks of the source head (gamma)"
    )
    preset: PresetName | None = Field(None, description="starting values of the options not said")
    report: bool | None = Field(None, description="return what was done")

    @model_validator(mode="after")
    def _one_threshold(self) -> "EAHOptions":
        if self.threshold is not None and self.relative_threshold is not None:
            raise ValueError("threshold and relative_threshold exclude each other: send one of them")
        return self

    def over(self, base: "EAHOptions") -> "EAHOptions":
        """These options, with `base` for whatever they do not say."""
        said = self.model_dump(exclude_none=True)
        rest = base.model_dump(exclude_none=True)
        if "threshold" in said or "relative_threshold" in said:
            rest.pop("threshold", None)
            rest.pop("relative_threshold", None)
        return EAHOptions(**{**rest, **said})


class EngineDefaults(EAHOptions):
    """`--additional-config '{"eah": {...}}'`: server-wide defaults of the options, and engine settings."""

    chunked_prefill: bool = Field(
        False, description="keep chunked prefill on; a prompt that it splits is answered without EAH and says so"
    )

    def options(self) -> EAHOptions:
        """The option defaults alone."""
        return EAHOptions(**self.model_dump(include=set(EAHOptions.model_fields)))


PRESETS: Mapping[str, EAHOptions] = {
    "paper": EAHOptions(layer=1, threshold=0.002, head="auto", min_density=0.0, preset="paper", report=False),
    # The released file hard-codes layer index 15 and 0.0008 (research code, modeling_llama_eah.py lines 68 and 1097).
    "released_code": EAHOptions(
        layer=15, threshold=0.0008, head="auto", min_density=0.0, preset="released_code", report=False
    ),
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model bounds the options."""

    num_layers: int
    num_heads: int


@dataclass(frozen=True, slots=True)
class EAHSettings:
    """Options with every default filled in and checked against one model."""

    layers: tuple[int, ...]
    threshold: float | None
    relative_threshold: float | None
    head: HeadRule | int
    min_density: float
    preset: PresetName
    report: bool = False
    tag: str | None = None
    """Names the report of this request; chosen by whoever will collect it."""

    def sink_threshold(self, prompt_length: int) -> float:
        """The absolute vision-sink threshold for a prompt of `prompt_length` tokens."""
        if self.relative_threshold is not None:
            return self.relative_threshold / prompt_length
        assert self.threshold is not None
        return self.threshold

    def fingerprint(self) -> str:
        """Hex digest of everything that changes the KV cache of layers after an EAH layer."""
        kv_changing = dataclasses.replace(self, report=False, tag=None)
        return hashlib.sha256(f"{METHOD_VERSION} {kv_changing!r}".encode()).hexdigest()[:32]


class OptionError(ValueError):
    """An option is impossible; the message names the field, what is allowed and what was sent."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def resolve(
    options: EAHOptions, defaults: EAHOptions, shape: ModelShape, tag: str | None = None, prefix: str = "eah."
) -> EAHSettings:
    """Fill `options` from `defaults` and the preset, and check them against the model.

    A preset named by the caller replaces the server's defaults; one named by the server only starts them. `prefix` is
    how the caller spells option names.

    Raises:
        OptionError: a layer or head that the model does not have.
    """
    stated = options if options.preset is not None else options.over(defaults)
    full = stated.over(PRESETS[stated.preset or "paper"])
    assert full.layer is not None
    assert full.head is not None
    assert full.min_density is not None
    assert full.preset is not None
    layers = tuple(sorted({full.layer} if isinstance(full.layer, int) else set(full.layer)))
    if layers[-1] >= shape.num_layers:
        raise OptionError(prefix + "layer", f"this model has layers 0..{shape.num_layers - 1}, got {layers[-1]}")
    if isinstance(full.head, int) and full.head >= shape.num_heads:
        raise OptionError(prefix + "head", f"this model has heads 0..{shape.num_heads - 1}, got {full.head}")
    return EAHSettings(
        layers,
        full.threshold,
        full.relative_threshold,
        full.head,
        full.min_density,
        full.preset,
        bool(full.report),
        tag,
    )


def to_extra_args(options: EAHOptions, tag: str | None = None) -> dict[str, Any]:
    """The flat form that travels in `SamplingParams.extra_args` (and `vllm_xargs`): EAH on, with `options`."""
    said = options.model_dump(exclude_none=True)
    flat: dict[str, Any] = {WIRE_NAME: 1} | {WIRE_PREFIX + name: value for name, value in said.items()}
    return flat if tag is None else flat | {WIRE_PREFIX + TAG_FIELD: tag}


def from_extra_args(extra_args: Mapping[str, Any] | None) -> tuple[EAHOptions, str | None] | None:
    """Read the flat form back: options and report tag, or None when EAH is off.

    Raises:
        OptionError: an unknown `eah_*` name, a bad value, or `eah_*` options without `eah`.
    """
    flat = {
        name: value for name, value in (extra_args or {}).items() if name == WIRE_NAME or name.startswith(WIRE_PREFIX)
    }
    if not flat:
        return None
    if WIRE_NAME not in flat:
        raise OptionError(next(iter(flat)), "is set but `eah` is not; send eah=1 to switch EAH on")
    switch = flat.pop(WIRE_NAME)
    if switch not in (0, 1, True, False, "0", "1", "true", "false"):
        raise OptionError(WIRE_NAME, f"must be true or false (1 or 0), got {switch!r}")
    tag = flat.pop(WIRE_PREFIX + TAG_FIELD, None)
    options = parse_options({name.removeprefix(WIRE_PREFIX): value for name, value in flat.items()}, WIRE_PREFIX)
    return (options, tag) if switch in (1, True, "1", "true") else None


def parse_options(fields: Mapping[str, Any], prefix: str = "eah.") -> EAHOptions:
    """Validate option fields; `prefix` is how the caller spells their names.

    Raises:
        OptionError: naming the first bad field, what is allowed, and what was sent.
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
            prefix + field, f"{first['msg'].removeprefix('Value error, ')}, got {fields.get(field)!r}"
        ) from None
