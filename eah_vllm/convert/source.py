"""What a checkpoint in LLaVA's original layout says of itself: configuration, vision tower and projector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from eah_vllm.convert.error import ConvertError

NEEDED = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
    "mm_hidden_size",
)
OF_LLAMA = (
    "attention_bias", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "intermediate_size",
    "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps",
    "rope_scaling", "rope_theta", "vocab_size",
)  # fmt: skip
"""Fields of the language model, which stand side by side with those of the rest."""
TOWER = "model.vision_tower.vision_tower.vision_model."
PROJECTORS = {"linear": ("",), "mlp2x_gelu": ("0.", "2.")}


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint's configuration, read and checked."""

    folder: Path
    fields: dict[str, Any]
    """As in its `config.json`."""

    @property
    def projector(self) -> str:
        """Its kind: `linear`, or `mlp2x_gelu`."""
        return str(self.fields.get("mm_projector_type", "linear"))

    def text_config(self) -> LlamaConfig:
        """Return the language model's configuration."""
        return LlamaConfig(**{name: self.fields[name] for name in OF_LLAMA if self.fields.get(name) is not None})

    def expected(self, tower: CLIPVisionModel, *, has_tower: bool) -> dict[str, list[int]]:
        """Return the shape of every tensor that the layout has, by name.

        Args:
            tower: the vision tower, which some checkpoints hold a copy of.
            has_tower: whether this one does.
        """
        with torch.device("meta"):
            shapes = {
                name: list(value.shape) for name, value in LlamaForCausalLM(self.text_config()).state_dict().items()
            }
        seen, hidden = self.fields["mm_hidden_size"], self.fields["hidden_size"]
        for part, width in zip(PROJECTORS[self.projector], (seen, hidden), strict=False):
            shapes |= {f"model.mm_projector.{part}weight": [hidden, width], f"model.mm_projector.{part}bias": [hidden]}
        if has_tower:
            shapes |= {TOWER + name: list(value.shape) for name, value in tower_weights(tower).items()}
        return shapes


def tower_weights(tower: CLIPVisionModel) -> dict[str, torch.Tensor]:
    """Return a vision tower's weights by the names that they have under `vision_model.`."""
    state = tower.state_dict()
    return {
        name.removeprefix("vision_model."): value for name, value in state.items() if not name.endswith("position_ids")
    }


def num_patches(tower: CLIPVisionModel) -> int:
    """Return how many patches a vision tower sees; it has a position for each, and one for the class token."""
    return len(tower_weights(tower)["embeddings.position_embedding.weight"]) - 1


def read_source(folder: Path, model_types: tuple[str, ...]) -> Source:
    """Read a checkpoint's `config.json`.

    Raises:
        ConvertError: there is none, or a field is missing or has a value that is not converted.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ConvertError(f"{folder} is no checkpoint: it has no config.json")
    source = Source(folder, json.loads(file.read_text(encoding="utf-8")))
    for name in NEEDED:
        if not isinstance(source.fields.get(name), int):
            raise ConvertError(f"{name} in {file} must be a number, not {source.fields.get(name)!r}")
    allowed: dict[str, tuple[Any, ...]] = {
        "model_type": model_types,
        "mm_projector_type": (None, *PROJECTORS),
        "mm_vision_select_feature": (None, "patch"),
        "image_aspect_ratio": (None, "square", "pad"),
        "tie_word_embeddings": (None, False),
        # LLaVA-1.0 writes a picture otherwise; Shikra always has these tokens.
        "mm_use_im_start_end": (None, "shikra" in model_types),
    }
    for name, values in allowed.items():
        if source.fields.get(name) not in values:
            listed = ", ".join("no value" if value is None else repr(value) for value in values)
            raise ConvertError(f"{name} in {file} may be {listed}, not {source.fields[name]!r}")
    return source


def read_tower(source: Source, named: str | None, dtype: torch.dtype) -> tuple[str, CLIPVisionModel]:
    """Load the vision tower, which the layout names and does not always hold; returns its name too.

    Raises:
        ConvertError: nobody names a tower, it cannot be read, or it is of another size than the projector's input.
    """
    name = named or source.fields.get("mm_vision_tower")
    if not name:
        raise ConvertError(
            f"mm_vision_tower is missing in {source.folder / 'config.json'}: name one with --vision-tower"
        )
    try:
        tower = CLIPVisionModel.from_pretrained(name, dtype=dtype)
    except OSError as error:
        raise ConvertError(
            f"the vision tower {name!r} cannot be read; --vision-tower names a folder: {error}"
        ) from None
    size, wanted = tower.config.hidden_size, source.fields["mm_hidden_size"]
    if size != wanted:
        raise ConvertError(f"the vision tower {name!r} has hidden_size {size}, and the projector takes {wanted}")
    return str(name), tower
