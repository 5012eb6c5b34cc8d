"""Qwen's line: pictures of any size, positions in three dimensions (M-RoPE), deep stack."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import (
    Glm4vConfig,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Glm46VImageProcessor,
    Glm46VProcessor,
    Glm46VVideoProcessor,
    GlmOcrConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.models.family import HIDDEN, TEXT, Family

SPECIALS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
TEXT_OF_QWEN = {name: value for name, value in TEXT.items() if name != "head_dim"}  # hidden size / heads
SMALL_VISION = {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": HIDDEN}


def qwen_family(
    architecture: str, config: Any, text: Any, vision: Any, processor: Any, video_processor: Any, **more: Any
) -> Family:
    """What all of Qwen's families have in common; `more` are other fields of the family."""
    return Family(
        architecture,
        config=lambda ids: config(
            text_config=deepcopy(text),  # configurations write into what they are given
            vision_config=deepcopy(vision),
            image_token_id=ids("<|image_pad|>"),
            video_token_id=ids("<|video_pad|>"),
            vision_start_token_id=ids("<|vision_start|>"),
            vision_end_token_id=ids("<|vision_end|>"),
            tie_word_embeddings=False,
        ),
        processor=lambda tokenizer: processor(
            Qwen2VLImageProcessor(patch_size=14, merge_size=2, size=PIXELS),
            tokenizer,
            video_processor(patch_size=14, size=PIXELS),
        ),
        image="<|vision_start|><|image_pad|><|vision_end|>",
        image_token="<|image_pad|>",
        specials=SPECIALS,
        image_tokens=4 * 3,
        **more,
    )


QWEN2_VL = qwen_family(
    "Qwen2VLForConditionalGeneration",
    Qwen2VLConfig,
    TEXT_OF_QWEN | {"rope_parameters": ROPE},
    {"depth": 2, "embed_dim": 64, "hidden_size": HIDDEN, "num_heads": 2, "mlp_ratio": 2},
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

QWEN25_VL = qwen_family(
    "Qwen2_5_VLForConditionalGeneration",
    Qwen2_5_VLConfig,
    TEXT_OF_QWEN | {"rope_parameters": ROPE},
    SMALL_VISION | {"depth": 2, "fullatt_block_indexes": [1]},
    Qwen2_5_VLProcessor,
    Qwen2VLVideoProcessor,
)

TEXT_OF_QWEN3 = TEXT | {"rope_parameters": ROPE | {"mrope_section": [6, 5, 5], "mrope_interleaved": True}}
VISION_OF_QWEN3 = SMALL_VISION | {"depth": 3, "patch_size": 14, "num_position_embeddings": 64}

QWEN3_VL = qwen_family(
    "Qwen3VLForConditionalGeneration",
    Qwen3VLConfig,
    TEXT_OF_QWEN3,
    VISION_OF_QWEN3 | {"deepstack_visual_indexes": [0, 1]},
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

QWEN3_VL_MOE = qwen_family(
    "Qwen3VLMoeForConditionalGeneration",
    Qwen3VLMoeConfig,
    TEXT_OF_QWEN3 | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96, "norm_topk_prob": True},
    VISION_OF_QWEN3 | {"deepstack_visual_indexes": [0, 1]},
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    transposed=("experts.gate_up_proj", "experts.down_proj"),
)

HYBRID_TEXT: dict[str, Any] = TEXT | {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "rope_parameters": ROPE | {"mrope_section": [2, 1, 1], "mrope_interleaved": True, "partial_rotary_factor": 0.25},
}
HYBRID_LAYERS: dict[str, Any] = {"layers": (1, 3), "refused": {0: "no attention", 2: "no attention"}}

QWEN35 = qwen_family(
    "Qwen3_5ForConditionalGeneration",
    Qwen3_5Config,
    HYBRID_TEXT,
    VISION_OF_QWEN3,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    **HYBRID_LAYERS,
)

GLM_SPECIALS = {
    name: f"<|{name}|>"
    for name in ("image", "video", "begin_of_image", "end_of_image", "begin_of_video", "end_of_video")
} | {"image_token": "<|image|>", "video_token": "<|video|>"}


GLM_PIXELS = {"shortest_edge": 2 * 56 * 56, "longest_edge": 2 * 112 * 112}
"""Of two frames: the processor doubles a picture."""


def _glm(architecture: str, config: Any, image_processor: Any, video_processor: Any, processor: Any) -> Family:
    return Family(
        architecture,
        config=lambda ids: config(
            text_config=TEXT_OF_QWEN
            | {"rope_parameters": ROPE | {"mrope_section": [4, 2, 2], "partial_rotary_factor": 0.5}},
            vision_config=SMALL_VISION | {"depth": 2, "image_size": 112},
            image_token_id=ids("<|image|>"),
            video_token_id=ids("<|video|>"),
            image_start_token_id=ids("<|begin_of_image|>"),
            image_end_token_id=ids("<|end_of_image|>"),
            video_start_token_id=ids("<|begin_of_video|>"),
            video_end_token_id=ids("<|end_of_video|>"),
            tie_word_embeddings=False,
        ),
        processor=lambda tokenizer: processor(
            image_processor(patch_size=14, size=GLM_PIXELS), tokenizer, video_processor(patch_size=14)
        ),
        image="<|begin_of_image|><|image|><|end_of_image|>",
        image_token="<|image|>",
        specials=GLM_SPECIALS,
        image_tokens=4 * 3,
    )


GLM4V = _glm("Glm4vForConditionalGeneration", Glm4vConfig, Glm4vImageProcessor, Glm4vVideoProcessor, Glm4vProcessor)
GLM_OCR = _glm(
    "GlmOcrForConditionalGeneration", GlmOcrConfig, Glm46VImageProcessor, Glm46VVideoProcessor, Glm46VProcessor
)
