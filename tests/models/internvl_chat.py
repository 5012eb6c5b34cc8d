"""InternVL in its original layout, which transformers knows in another: the same model, with other names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    Qwen2Config,
)

from tests.models.family import TEXT, Family
from tests.models.remote_code.configuration_internvl_chat import InternVLChatConfig
from tests.models.tile_families import INTERNVL, TILE, VISION

# Parts of weights' names, here and in the original layout.
RENAMED = (
    ("vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
    ("vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
    ("vision_tower.embeddings.patch_embeddings.projection", "vision_model.embeddings.patch_embedding"),
    ("vision_tower.encoder.layer.", "vision_model.encoder.layers."),
    (".lambda_", ".ls"),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.projection_layer.", ".attn.proj."),
    (".attention.qkv.", ".attn.qkv."),
    ("multi_modal_projector.layer_norm.", "mlp1.0."),
    ("multi_modal_projector.linear_1.", "mlp1.1."),
    ("multi_modal_projector.linear_2.", "mlp1.3."),
)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def publish(native: Path, path: Path) -> None:
    """Write the original layout's configuration, with the class that reads it, tokenizer and weights."""
    AutoTokenizer.from_pretrained(native).save_pretrained(path)
    config: Any = AutoConfig.from_pretrained(native)
    vision = config.vision_config
    ours = InternVLChatConfig(
        architectures=["InternVLChatModel"],
        vision_config={
            "architectures": ["InternVisionModel"],
            "image_size": TILE,
            "patch_size": vision.patch_size[0],
            "qkv_bias": vision.attention_bias,
            "qk_normalization": vision.use_qk_norm,
            "initializer_factor": 1.0,
            **{name: getattr(vision, name) for name in (*VISION, "norm_type", "layer_norm_eps", "hidden_act")},
        },
        llm_config=config.text_config.to_dict() | {"architectures": ["Qwen2ForCausalLM"]},
        downsample_ratio=config.downsample_ratio,
        ps_version="v2",
        force_image_size=TILE,
        dynamic_image_size=True,
        use_thumbnail=True,
        max_dynamic_patch=4,
        tie_word_embeddings=False,
    )
    InternVLChatConfig.register_for_auto_class()
    ours.save_pretrained(path)
    save_file(_original(load_file(native / "model.safetensors")), path / "model.safetensors", {"format": "pt"})


def _original(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, weight in weights.items():
        if ".attention.k_proj." in name or ".attention.v_proj." in name:
            continue
        if ".attention.q_proj." in name:  # the original has one weight for query, key and value
            weight = torch.cat([weights[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"])
            name = name.replace(".q_proj.", ".qkv.")
        for old, new in RENAMED:
            name = name.replace(old, new)
        found[name] = weight
    return found


def _load_processor(path: Path) -> Any:
    """Read transformers' processor; like the original's, its pictures are resized by PIL."""
    processor = AutoProcessor.from_pretrained(path)
    processor.image_processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    return processor


INTERNVL_CHAT: Family = replace(
    INTERNVL,
    architecture="InternVLChatModel",
    model=InternVLForConditionalGeneration,
    config=lambda ids: InternVLConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=VISION | {"image_size": [TILE, TILE], "patch_size": [14, 14], "attention_bias": True},
        image_token_id=ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    ),
    processor=lambda tokenizer: InternVLProcessor(
        GotOcr2ImageProcessor(
            size={"height": TILE, "width": TILE}, crop_to_patches=True, min_patches=1, max_patches=4, **IMAGENET
        ),
        tokenizer,
        InternVLVideoProcessor(size={"height": TILE, "width": TILE}),
        image_seq_length=4,
    ),
    specials=INTERNVL.specials | {"video_pad": "<|video_pad|>"},  # vLLM's processor writes it for frames
    image="<image>",
    image_of_reference="<IMG_CONTEXT>",
    remote_code=True,
    publish=publish,
    load_processor=_load_processor,
)
