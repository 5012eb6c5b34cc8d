"""Families whose pictures are cut into tiles, with text tokens between them, or in rows with a break after each."""

from __future__ import annotations

from typing import Any

from transformers import (
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaConfig,
    Mistral3Config,
    MistralConfig,
    PixtralImageProcessor,
    PixtralProcessor,
    PixtralVisionConfig,
    Qwen2Config,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from tests.models.family import TEXT, Family

TILE = 56
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}

INTERNVL = Family(
    "InternVLForConditionalGeneration",
    config=lambda ids: InternVLConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=VISION | {"image_size": [TILE, TILE], "patch_size": [14, 14]},
        image_token_id=ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    ),
    processor=lambda tokenizer: InternVLProcessor(
        GotOcr2ImageProcessor(size={"height": TILE, "width": TILE}, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size={"height": TILE, "width": TILE}),
        image_seq_length=4,
    ),
    image="<IMG_CONTEXT>",
    image_token="<IMG_CONTEXT>",
    specials={
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    image_tokens=(4 + 1) * 4,
)


def _idefics(architecture: str, config: Any, image_processor: Any, processor: Any, *more: Any) -> Family:
    """`more` are other parts that the processor is made of."""
    return Family(
        architecture,
        config=lambda ids: config(
            text_config=LlamaConfig(**TEXT),
            vision_config=VISION | {"image_size": TILE, "patch_size": 14},
            image_token_id=ids("<image>"),
            scale_factor=2,
            pad_token_id=TEXT["pad_token_id"],
            tie_word_embeddings=False,
        ),
        processor=lambda tokenizer: processor(
            image_processor(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE}),
            tokenizer,
            *more,
            image_seq_len=4,
        ),
        image="<image>",
        image_token="<image>",
        specials={
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        image_tokens=(4 + 1) * 4,
        between=("<fake_token_around_image>", "<global-img>", "\n"),
    )


IDEFICS3 = _idefics("Idefics3ForConditionalGeneration", Idefics3Config, Idefics3ImageProcessor, Idefics3Processor)
SMOLVLM = _idefics(
    "SmolVLMForConditionalGeneration", SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor()
)

MISTRAL3 = Family(
    "Mistral3ForConditionalGeneration",
    config=lambda ids: Mistral3Config(
        text_config=MistralConfig(**TEXT, sliding_window=None),
        vision_config=PixtralVisionConfig(**VISION, image_size=112, patch_size=14),
        image_token_id=ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    ),
    processor=lambda tokenizer: PixtralProcessor(
        PixtralImageProcessor(size={"longest_edge": 112}, patch_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        spatial_merge_size=2,
    ),
    image="[IMG]",
    image_token="[IMG]",
    specials={"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"},
    image_tokens=4 * 3,
    between=("[IMG_BREAK]",),
)
