"""Settings: a method's options with every default filled in and checked against one model; their cache identity."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from eah_vllm.options import EAHOptions, HeadRule, InspectOptions, LayerOptions, OptionError, PresetName

RELEASED_CODE_DIVISOR = 647
"""The released code divides column c by 647 - c: correct for prompts of 648 tokens (modeling_llama_eah.py line 86)."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model that bound the options."""

    num_layers: int
    num_heads: int


@dataclass(frozen=True)
class MethodSettings:
    """What the settings of every method have; a subclass adds its own, all of which change the KV cache."""

    VERSION: ClassVar[str]
    """A part of every fingerprint; raise it when the method starts to write other KV for equal settings."""

    layers: tuple[int, ...]
    """Decoder layers in which the method acts, 0-based and ascending."""

    def fingerprint(self) -> str:
        """Return a hex digest of everything that changes the KV cache of layers after the method's own."""
        return hashlib.sha256(f"{type(self).__module__} {self.VERSION} {self!r}".encode()).hexdigest()[:32]


def layers_of(said: LayerOptions, shape: ModelShape, prefix: str) -> tuple[int, ...]:
    """Return the layers that options name, ascending; `prefix` is how the caller spells option names.

    Raises:
        OptionError: the model does not have one of them.
    """
    assert said.layer is not None
    layers = tuple(sorted({said.layer} if isinstance(said.layer, int) else set(said.layer)))
    if layers[-1] >= shape.num_layers:
        raise OptionError(prefix + "layer", f"this model has layers 0..{shape.num_layers - 1}, got {layers[-1]}")
    return layers


def check_head(head: int, shape: ModelShape, prefix: str) -> None:
    """Check a head that an option names, as `layers_of` checks layers.

    Raises:
        OptionError: the model does not have it.
    """
    if head >= shape.num_heads:
        raise OptionError(prefix + "head", f"this model has heads 0..{shape.num_heads - 1}, got {head}")


@dataclass(frozen=True)
class EAHSettings(MethodSettings):
    """Settings of EAH."""

    VERSION: ClassVar[str] = "2"

    threshold: float | None
    relative_threshold: float | None
    head: HeadRule | int
    min_density: float
    seed: int = 0
    """Number of the draw of a random head; 0 for every other rule."""
    first_token_counts: bool = True
    """Whether the first image token of each span can be a sink; the released code begins after it, at `[36:611]`."""
    divisor: int | None = None
    """The sums of column c are divided by `divisor - c`; None: by the number of later rows, `S - 1 - c`."""
    head_zero_wins: bool = True
    """Whether head 0 can be the source head; never in the released code, whose condition is `if k > 0`."""

    def sink_threshold(self, prompt_length: int) -> float:
        """Return the absolute vision-sink threshold for a prompt of `prompt_length` tokens."""
        if self.relative_threshold is not None:
            return self.relative_threshold / prompt_length
        assert self.threshold is not None
        return self.threshold


PRESETS: Mapping[PresetName, EAHOptions] = {
    "paper": EAHOptions(layer=1, threshold=0.002, head="auto", min_density=0.0, preset="paper", report=False),
    # The released file hard-codes layer index 15 and 0.0008 (research code, modeling_llama_eah.py lines 68 and 1097).
    "released_code": EAHOptions(
        layer=15, threshold=0.0008, head="auto", min_density=0.0, preset="released_code", report=False
    ),
}
"""Starting values of the options."""
RELEASED_CODE: Mapping[str, Any] = {
    "first_token_counts": False,
    "divisor": RELEASED_CODE_DIVISOR,
    "head_zero_wins": False,
}
"""Settings that only the preset `released_code` has: no option names them."""


def resolve(options: EAHOptions, defaults: EAHOptions, shape: ModelShape, prefix: str = "eah.") -> EAHSettings:
    """Fill `options` from `defaults` and the preset, and check them against the model.

    A preset named by the caller replaces the server's defaults; one named by the server only starts them. `prefix` is
    how the caller spells option names.

    Raises:
        OptionError: the model does not have a layer or head that the options name.
    """
    stated = options if options.preset is not None else options.over(defaults)
    full = stated.over(PRESETS[stated.preset or "paper"])
    assert full.head is not None
    assert full.min_density is not None
    layers = layers_of(full, shape, prefix)
    if isinstance(full.head, int):
        check_head(full.head, shape, prefix)
    return EAHSettings(
        layers,
        full.threshold,
        full.relative_threshold,
        full.head,
        full.min_density,
        full.seed or 0,
        **(RELEASED_CODE if full.preset == "released_code" else {}),
    )


@dataclass(frozen=True)
class InspectSettings(MethodSettings):
    """Settings of the inspector; no KV cache depends on them."""

    VERSION: ClassVar[str] = "1"

    num_heads: int
    """Query heads of a layer, over all ranks."""
    thresholds: tuple[float, ...]
    relative_thresholds: tuple[float, ...]
    map_of: tuple[int, int] | None
    """Layer and head whose map is reported; None for none."""

    def sink_thresholds(self, prompt_length: int) -> list[float]:
        """Return the absolute thresholds for a prompt of `prompt_length` tokens, in the order of the report."""
        return [*self.thresholds, *(value / prompt_length for value in self.relative_thresholds)]


def resolve_inspection(
    said: InspectOptions, defaults: InspectOptions, shape: ModelShape, prefix: str = "inspect."
) -> InspectSettings:
    """Fill thresholds from the defaults, or the paper's, and check layer and head against the model.

    Raises:
        OptionError: the model does not have the layer or the head, or one of them stands alone.
    """
    full = said.over(defaults)
    if not full.names_thresholds:
        full = full.over(InspectOptions(thresholds=[PRESETS["paper"].threshold or 0.0]))
    if said.layer is not None:
        layers_of(said, shape, prefix)
    if said.head is not None:
        check_head(said.head, shape, prefix)
    if (said.layer is None) != (said.head is None):
        missing, there = ("layer", "head") if said.layer is None else ("head", "layer")
        raise OptionError(prefix + missing, f"must stand beside {there}: a map is that of one head of one layer")
    return InspectSettings(
        tuple(range(shape.num_layers)),
        shape.num_heads,
        tuple(full.thresholds or ()),
        tuple(full.relative_thresholds or ()),
        None if said.layer is None or said.head is None else (said.layer, said.head),
    )
