"""Options with every default filled in and checked against one model, and their identity in the KV cache."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from eah_vllm.options import EAHOptions, HeadRule, OptionError, PresetName

METHOD_VERSION = "2"
"""A part of every fingerprint; raise it when the method starts to write other KV for equal options."""

PRESETS: Mapping[str, EAHOptions] = {
    "paper": EAHOptions(layer=1, threshold=0.002, head="auto", min_density=0.0, preset="paper", report=False),
    # The released file hard-codes layer index 15 and 0.0008 (research code, modeling_llama_eah.py lines 68 and 1097).
    "released_code": EAHOptions(
        layer=15, threshold=0.0008, head="auto", min_density=0.0, preset="released_code", report=False
    ),
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model that bound the options."""

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
    seed: int = 0
    """Number of the draw of a random head; 0 for every other rule."""
    report: bool = False
    tag: str | None = None
    """Name of the report on this request; whoever will collect the report chooses it."""

    def sink_threshold(self, prompt_length: int) -> float:
        """Return the absolute vision-sink threshold for a prompt of `prompt_length` tokens."""
        if self.relative_threshold is not None:
            return self.relative_threshold / prompt_length
        assert self.threshold is not None
        return self.threshold

    def fingerprint(self) -> str:
        """Return a hex digest of everything that changes the KV cache of layers after an EAH layer."""
        kv_changing = dataclasses.replace(self, report=False, tag=None)
        return hashlib.sha256(f"{METHOD_VERSION} {kv_changing!r}".encode()).hexdigest()[:32]


def resolve(
    options: EAHOptions, defaults: EAHOptions, shape: ModelShape, tag: str | None = None, prefix: str = "eah."
) -> EAHSettings:
    """Fill `options` from `defaults` and the preset, and check them against the model.

    A preset named by the caller replaces the server's defaults; one named by the server only starts them. `prefix` is
    how the caller spells option names.

    Raises:
        OptionError: the model does not have a layer or head that the options name.
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
        full.seed or 0,
        bool(full.report),
        tag,
    )
