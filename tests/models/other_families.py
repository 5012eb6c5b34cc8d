"""Families unlike the others: a Q-Former, pictures that attend both ways, windows in some layers, slices."""

from __future__ import annotations

from typing import Any

from transformers import (
    Blip2Config,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    Cohere2Config,
    Cohere2VisionConfig,
    Cohere2VisionImageProcessor,
    Cohere2VisionProcessor,
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GemmaConfig,
    MiniCPMV4_6Config,
    MiniCPMV4_6ImageProcessor,
    MiniCPMV4_6Processor,
    MiniCPMV4_6VideoProcessor,
    OPTConfig,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    SiglipImageProcessor,
)

from tests.models.family import HEADS, HIDDEN, TEXT, VOCAB_SIZE, Family
from tests.models.llava_families import TOWER
from tests.models.qwen_families import HYBRID_LAYERS, HYBRID_TEXT

TILE = 56
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": 14,
}
SIGLIP = VISION | {"vision_use_head": False}
SQUARE = {"height": TILE, "width": TILE}

# vLLM's processors of the Gemma family look these up.
NEWLINES = {f"newlines_{count}": "\n" * count for count in range(1, 5)}

MINICPMV = Family(
    "MiniCPMV4_6ForConditionalGeneration",
    config=lambda ids: MiniCPMV4_6Config(
        text_config=HYBRID_TEXT | {"model_type": "qwen3_5_text"},
        vision_config=VISION | {"image_size": 4 * TILE},
        insert_layer_id=0,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
    ),
    processor=lambda tokenizer: MiniCPMV4_6Processor(
        MiniCPMV4_6ImageProcessor(scale_resolution=2 * TILE, max_slice_nums=4),
        MiniCPMV4_6VideoProcessor(scale_resolution=2 * TILE),
        tokenizer,
    ),
    image="<|image_pad|>",
    image_token="<|image_pad|>",
    specials={
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image_start>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    },
    **HYBRID_LAYERS,
)

BLIP2 = Family(
    "Blip2ForConditionalGeneration",
    config=lambda ids: Blip2Config(
        vision_config=Blip2VisionConfig(**VISION),
        qformer_config=Blip2QFormerConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            encoder_hidden_size=64,
            cross_attention_frequency=1,
        ),
        text_config=OPTConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=HIDDEN,
            word_embed_proj_dim=HIDDEN,
            ffn_dim=256,
            num_hidden_layers=3,
            num_attention_heads=HEADS,
            max_position_embeddings=512,
            **{name: TEXT[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")},
        ),
        num_query_tokens=8,
        image_token_index=ids("<image>"),
    ),
    processor=lambda tokenizer: Blip2Processor(BlipImageProcessor(size=SQUARE), tokenizer, num_query_tokens=8),
    image="",
    image_token="<image>",
    image_tokens=8,
    max_images=1,
)

GEMMA3 = Family(
    "Gemma3ForConditionalGeneration",
    config=lambda ids: Gemma3Config(
        text_config=TEXT
        | {
            "tie_word_embeddings": True,
            "sliding_window": 16,
            "query_pre_attn_scalar": 32,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        },
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        image_token_index=ids("<image_soft_token>"),
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
    ),
    processor=lambda tokenizer: Gemma3Processor(Gemma3ImageProcessor(size=SQUARE), tokenizer, image_seq_length=4),
    image="<start_of_image>",
    image_token="<image_soft_token>",
    specials={
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    | NEWLINES,
    renamed=TOWER,
    refused={0: "sliding window", 1: "images attend both ways", 2: "images attend both ways"},
)

PALIGEMMA = Family(
    "PaliGemmaForConditionalGeneration",
    config=lambda ids: PaliGemmaConfig(
        text_config=GemmaConfig(**TEXT | {"tie_word_embeddings": True}),
        vision_config=SIGLIP,
        image_token_index=ids("<image>"),
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
    ),
    processor=lambda tokenizer: PaliGemmaProcessor(SiglipImageProcessor(size=SQUARE, image_seq_length=16), tokenizer),
    image="",
    image_token="<image>",
    specials={"image_token": "<image>"} | NEWLINES,
    renamed=TOWER,
    max_images=1,
    refused=dict.fromkeys(range(3), "images attend both ways"),
)

COHERE2 = Family(
    "Cohere2VisionForConditionalGeneration",
    config=lambda ids: Cohere2VisionConfig(
        text_config=Cohere2Config(
            **TEXT | {"tie_word_embeddings": True, "num_hidden_layers": 4},
            sliding_window=1024,  # no prompt is as long: vLLM's window is one token wider than transformers'
            layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            logit_scale=1.0,
        ),
        vision_config=SIGLIP,
        image_token_id=ids("<|IMG_PATCH|>"),
        alignment_intermediate_size=128,
        downsample_factor=2,
    ),
    processor=lambda tokenizer: Cohere2VisionProcessor(
        # Its `patch_size` is the number of tokens along a side of a tile.
        Cohere2VisionImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4, patch_size=2),
        tokenizer,
    ),
    image="<|IMG_PATCH|>",
    image_token="<|IMG_PATCH|>",
    specials={
        "image_token": "<|IMG_PATCH|>",
        "boi_token": "<|START_OF_IMG|>",
        "eoi_token": "<|END_OF_IMG|>",
        "img_line_break_token": "<|IMG_LINE_BREAK|>",
    },
    renamed=TOWER,
    image_tokens=(4 + 1) * 4,
    between=("<|IMG_LINE_BREAK|>",),
    layers=(0, 3),
    refused={1: "sliding window", 2: "sliding window"},
)
