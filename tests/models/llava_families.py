"""LLaVA's line: a vision tower, a projector, and image tokens that stand side by side in the prompt."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    MistralConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from tests.models.family import TEXT, Family

TILE = 56
GRID = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": 14,
}
SIZES: dict[str, Any] = {"size": {"shortest_edge": TILE}, "crop_size": {"height": TILE, "width": TILE}}
ANYRES = 6 * (8 + 1) + 4 * 4
"""4 tiles without the rows that fill up a square, a newline embedding after each row; and the thumbnail."""
TOWER = (("vision_tower.", "vision_tower.vision_model."), ("model.vision_tower.", "model.vision_tower.vision_model."))

LLAVA = Family(
    "LlavaForConditionalGeneration",
    config=lambda ids: LlavaConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION, projection_dim=64),
        image_token_index=ids("<image>"),
        image_seq_length=16,
        tie_word_embeddings=False,
    ),
    processor=lambda tokenizer: LlavaProcessor(
        CLIPImageProcessor(**SIZES),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ),
    image="<image>",
    image_token="<image>",
    renamed=TOWER,
    image_tokens=4 * 4,
)


def _next(text_config: Any) -> Family:
    return Family(
        "LlavaNextForConditionalGeneration",
        config=lambda ids: LlavaNextConfig(
            text_config=text_config,
            vision_config=CLIPVisionConfig(**VISION, projection_dim=64),
            image_token_index=ids("<image>"),
            image_grid_pinpoints=GRID,
            image_seq_length=16,
            tie_word_embeddings=False,
        ),
        processor=lambda tokenizer: LlavaNextProcessor(
            LlavaNextImageProcessor(**SIZES, image_grid_pinpoints=GRID),
            tokenizer,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        ),
        image="<image>",
        image_token="<image>",
        renamed=TOWER,
        image_tokens=ANYRES,
    )


NEXT_VICUNA, NEXT_MISTRAL = _next(LlamaConfig(**TEXT)), _next(MistralConfig(**TEXT, sliding_window=None))

ONEVISION = Family(
    "LlavaOnevisionForConditionalGeneration",
    config=lambda ids: LlavaOnevisionConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        image_token_index=ids("<image>"),
        video_token_index=ids("<video>"),
        image_grid_pinpoints=GRID,
        tie_word_embeddings=False,
    ),
    processor=lambda tokenizer: LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": TILE, "width": TILE}, image_grid_pinpoints=GRID),
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": TILE, "width": TILE}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    ),
    image="<image>",
    image_token="<image>",
    specials={"video_token": "<video>"},
    renamed=TOWER,
    image_tokens=ANYRES,
)
