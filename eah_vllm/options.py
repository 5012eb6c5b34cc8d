"""What a caller may say of a method, as schemas; `wire.py` has the form in which it travels to the engine."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

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

MAX_SEED = 2**32 - 1
Options = TypeVar("Options", bound="CallerOptions")

HeadRule = Literal["auto", "sparsest", "random"]
PresetName = Literal["paper", "released_code"]
MOST_THRESHOLDS = 64
"""Most thresholds of one inspection: every layer counts at each of them, in a step that others wait for."""


def refuse_bool(value: object) -> object:
    """Refuse true and false where numbers are wanted: Python takes them for 1 and 0."""
    if isinstance(value, bool) or (isinstance(value, list) and any(isinstance(item, bool) for item in value)):
        raise ValueError("must be a number, not a boolean")
    return value


LayerIdx = Annotated[int, Field(ge=0)]


class CallerOptions(BaseModel):
    """Options as a caller writes them; `None` means that the caller has not set the option.

    Types are exactly those of JSON: a number is no text, an integer has no fraction (2, never 2.0), true is not 1.
    """

    BLAMED: ClassVar[str]
    """The option that an error names which is about several options together."""
    GO_WITH: ClassVar[Mapping[str, frozenset[str]]] = {}
    """By option: those that `over` does not take from its base where the option itself is set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def over(self, base: Self) -> Self:
        """Return these options, with those of `base` for whatever is not set here."""
        said = self.model_dump(exclude_none=True)
        gone = {other for name in said for other in self.GO_WITH.get(name, ())}
        return type(self)(**{**base.model_dump(exclude_none=True, exclude=gone), **said})


class MethodOptions(CallerOptions):
    """Options of a method: every method has this one, and a subclass adds those of its own."""

    BLAMED: ClassVar[str] = "report"

    report: bool | None = Field(None, description="return what was done")


class LayerOptions(MethodOptions):
    """Options of a method that does the same in each of its layers, so that one option names them all."""

    BLAMED: ClassVar[str] = "layer"

    layer: Annotated[LayerIdx | Annotated[list[LayerIdx], Field(min_length=1)] | None, BeforeValidator(refuse_bool)] = (
        Field(None, description="decoder layer or layers, 0-based")
    )


class EAHOptions(LayerOptions):
    """Options of EAH (arXiv 2411.09968)."""

    BLAMED: ClassVar[str] = "relative_threshold"
    GO_WITH: ClassVar[Mapping[str, frozenset[str]]] = {
        "threshold": frozenset({"relative_threshold"}),
        "relative_threshold": frozenset({"threshold"}),
        "head": frozenset({"seed"}),  # the base's seed belongs to the base's head
    }

    threshold: Annotated[float | None, BeforeValidator(refuse_bool)] = Field(
        None, gt=0, lt=1, description="vision-sink threshold: mean attention received per later row, unitless"
    )
    relative_threshold: Annotated[float | None, BeforeValidator(refuse_bool)] = Field(
        None, gt=0, description="threshold as a multiple of 1/S for a prompt of S tokens; excludes `threshold`"
    )
    head: Annotated[HeadRule | Annotated[int, Field(ge=0)] | None, BeforeValidator(refuse_bool)] = Field(
        None, description="rule that chooses the source head, or a fixed head, 0-based"
    )
    seed: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=MAX_SEED, description='which draw of a random head; only beside `head: "random"`'
    )
    min_density: Annotated[float | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=1, description="least share of image tokens that must be sinks of the source head (gamma)"
    )
    preset: PresetName | None = Field(None, description="starting values of the options not said")

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


class InspectOptions(LayerOptions):
    """Options of the inspector, which reads every layer; `layer` and `head` name the one map that is returned whole."""

    BLAMED: ClassVar[str] = "thresholds"

    layer: Annotated[LayerIdx | None, BeforeValidator(refuse_bool)] = Field(
        None, description="with `head`: whose mean attention received by each image token is returned, 0-based"
    )
    head: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, description="with `layer`: whose mean attention received by each image token is returned, 0-based"
    )
    thresholds: Annotated[list[Annotated[float, Field(gt=0, lt=1)]] | None, BeforeValidator(refuse_bool)] = Field(
        None, description="vision-sink thresholds: mean attention received per later row, unitless"
    )
    relative_thresholds: Annotated[list[Annotated[float, Field(gt=0)]] | None, BeforeValidator(refuse_bool)] = Field(
        None, description="thresholds as multiples of 1/S for a prompt of S tokens; they follow `thresholds`"
    )

    @model_validator(mode="after")
    def _few_thresholds(self) -> "InspectOptions":
        found = len(self.thresholds or ()) + len(self.relative_thresholds or ())
        if found > MOST_THRESHOLDS:
            raise ValueError(f"at most {MOST_THRESHOLDS} thresholds of both kinds together, {found} were sent")
        return self

    @property
    def names_thresholds(self) -> bool:
        """Whether there is a threshold of either kind."""
        return bool(self.thresholds or self.relative_thresholds)

    def over(self, base: Self) -> Self:
        """Return these options, with those of `base` for whatever is not set here; thresholds go together."""
        thresholds = {"thresholds", "relative_thresholds"}
        said = self.model_dump(exclude_none=True, exclude=None if self.names_thresholds else thresholds)
        rest = base.model_dump(exclude_none=True, exclude=thresholds if self.names_thresholds else None)
        return type(self)(**{**rest, **said})


class CheckpointDefaults(EAHOptions):
    """Fields of `eah` in a checkpoint's `config.json`: defaults of the options, and the methods to serve it with."""

    methods: list[str] | Literal["all"] | None = Field(
        None, description="names of the methods that requests may ask for, or `all`; requests for others are refused"
    )

    def options(self) -> EAHOptions:
        """Return the option defaults alone."""
        return EAHOptions(**self.model_dump(include=set(EAHOptions.model_fields)))


class EngineDefaults(CheckpointDefaults):
    """Fields of `--additional-config '{"eah": {...}}'`: server-wide defaults of the options, and engine settings."""

    chunked_prefill: bool = Field(
        True, description="false: no prompt is split, of any request, and a step has room for the longest one"
    )

    prefix_reuse: bool = Field(
        False, description="EAH prompts may read the prefix cache, with the source head chosen when it was written"
    )

    any_model: bool = Field(
        False, description="apply EAH also to a multimodal model of which nobody knows whether it works there"
    )

    @classmethod
    def engine_fields(cls) -> set[str]:
        """Return the names of the fields that are settings of the engine and no options of a request."""
        return set(cls.model_fields) - set(EAHOptions.model_fields)


class OptionError(ValueError):
    """An option is impossible; the message names the field, what is allowed and what was sent."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def shown(value: object) -> str:
    """Format a value for an error message, shortened in case somebody sent megabytes."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def parse_options(fields: Mapping[str, Any], prefix: str, schema: type[Options]) -> Options:
    """Validate options; `prefix` is how the caller spells their names.

    Raises:
        OptionError: an option is bad; the message names the first bad field, what is allowed, and what was sent.
    """
    unknown = sorted(set(fields) - set(schema.model_fields))
    if unknown:
        raise OptionError(f"{prefix}{unknown[0]:.100}", f"unknown option; known are {', '.join(schema.model_fields)}")
    try:
        return schema(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else schema.BLAMED
        raise OptionError(
            prefix + field, f"{first['msg'].removeprefix('Value error, ')}, got {shown(fields.get(field))}"
        ) from None
