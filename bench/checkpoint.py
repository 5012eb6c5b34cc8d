"""LLaVA checkpoints without weights (`--load-format dummy` makes them up), and the built-in model's tokenizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from eah_vllm.scenes import MODEL_PATH


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a LLaVA model."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    image_size: int = 336
    patch_size: int = 14
    positions: int = 4096
    """Longest context, in tokens."""


MEDIUM = Geometry(
    layers=8, hidden=1024, heads=16, intermediate=2752, vocabulary=512,
    vision_layers=4, vision_hidden=256, vision_intermediate=1024,
)  # fmt: skip
"""A size between the built-in model and a real one."""


def llava_7b(layers: int) -> Geometry:
    """Return the sizes of LLaVA-1.5-7B, with `layers` of its 32 decoder layers."""
    return Geometry(
        layers=layers, hidden=4096, heads=32, intermediate=11008, vocabulary=32064,
        vision_layers=24, vision_hidden=1024, vision_intermediate=4096,
    )  # fmt: skip


def make_checkpoint(folder: Path, geometry: Geometry) -> Path:
    """Write configuration, tokenizer and processor into `folder`, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(MODEL_PATH / name, folder)
    processor = json.loads((MODEL_PATH / "processor_config.json").read_text())
    side = geometry.image_size
    processor["image_processor"] |= {"crop_size": {"height": side, "width": side}, "size": {"shortest_edge": side}}
    processor["patch_size"] = geometry.patch_size
    (folder / "processor_config.json").write_text(json.dumps(processor))
    config = _config(geometry, json.loads((MODEL_PATH / "config.json").read_text()))
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(folder)
    return folder


def _config(geometry: Geometry, builtin: dict[str, object]) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=geometry.vision_hidden,
        intermediate_size=geometry.vision_intermediate,
        num_hidden_layers=geometry.vision_layers,
        num_attention_heads=geometry.vision_hidden // 64,
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        projection_dim=768,
    )
    text = LlamaConfig(
        vocab_size=geometry.vocabulary,
        hidden_size=geometry.hidden,
        intermediate_size=geometry.intermediate,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        num_key_value_heads=geometry.heads,
        max_position_embeddings=geometry.positions,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=4,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=builtin["image_token_index"],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(geometry.image_size // geometry.patch_size) ** 2,
    )
