"""Tiny random LLaVA checkpoints, on disk as the public ones are, made offline in about a second.

The weights are random but not small: attention maps are far from uniform, heads differ in how many vision sinks
they have, and the greedy token is rarely a near-tie. With the usual 0.02 initialisation every map is flat, and a test
that compares EAH with a reference would pass for any choice of head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
)

from tests.checkpoint_tokenizer import (
    BOS_TOKEN_ID,
    CHAT_TEMPLATE,
    EOS_TOKEN_ID,
    IMAGE_TOKEN_ID,
    PAD_TOKEN_ID,
    make_tokenizer,
    tokens_never_generated,
)

IMAGE_PROMPT = "USER: <image>\nPlease describe this image in detail. ASSISTANT:"
# Also with 16 image tokens it fills a block of the prefix cache.
LONG_IMAGE_PROMPT = "USER: <image>\nIs there a small brown dog near the blue bench, or an open book? ASSISTANT:"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape of a LLaVA. Head size 32 is the smallest that vLLM's CPU attention takes."""

    num_layers: int = 3
    num_heads: int = 8
    num_kv_heads: int = 8
    head_dim: int = 32
    hidden_size: int = 128
    intermediate_size: int = 192
    image_size: int = 64
    patch_size: int = 8
    vision_hidden_size: int = 64
    vision_layers: int = 3
    max_position_embeddings: int = 2048
    sliding_window: int | None = None
    """Tokens that a row sees, itself included; a Llama has none, so this makes the language model a Mistral."""
    windowed_layers: tuple[int, ...] | None = None
    """The layers that have the window; makes the language model a Gemma 2."""
    soft_cap: float | None = None
    """Bound of the attention logits, by tanh; for a Gemma 2."""

    @property
    def num_image_tokens(self) -> int:
        return (self.image_size // self.patch_size) ** 2


MHA = Geometry()
GQA = Geometry(num_kv_heads=2, patch_size=16)
# Unlike the built-in model in every dimension: odd layer count, heads not a power of two, head_dim != hidden / heads.
UNUSUAL = Geometry(
    num_layers=5, num_heads=6, num_kv_heads=3, hidden_size=96, intermediate_size=160, image_size=48, patch_size=8
)
# All sharded dimensions are even, and ranks hold whole key/value heads.
TENSOR_PARALLEL_2 = Geometry(num_kv_heads=4, hidden_size=128)
# Fewer key/value heads than ranks: each rank has a copy of the only one.
ONE_KV_HEAD = Geometry(num_kv_heads=1, patch_size=16)
# A prompt with an image has more tokens than that.
SLIDING_WINDOW = Geometry(num_kv_heads=2, patch_size=16, sliding_window=16)
ALTERNATING_WINDOW = Geometry(num_kv_heads=2, patch_size=16, sliding_window=16, windowed_layers=(0, 2))
SOFT_CAP = Geometry(num_kv_heads=2, patch_size=16, sliding_window=16, windowed_layers=(), soft_cap=2.0)
LONG_CONTEXT = Geometry(num_kv_heads=2, patch_size=16, max_position_embeddings=32768)
GEOMETRIES = {"mha": MHA, "gqa": GQA, "unusual": UNUSUAL, "tensor_parallel_2": TENSOR_PARALLEL_2}


def make_llava(
    path: str | Path,
    geometry: Geometry = MHA,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = 384,
) -> Path:
    """Write a random LLaVA with tokenizer, processor and chat template to `path`.

    Only tokens made of printable ASCII are ever generated: special tokens have zero rows in the output embedding,
    so generation runs to `max_tokens` and never emits an image placeholder or the end of the sentence.

    Args:
        path: Folder to create.
        geometry: Shape of the model.
        seed: Seed of the weights.
        dtype: Type the weights are stored in.
        vocab_size: Rows of the embeddings, a multiple of 64; the tokenizer fills as many as its corpus gives.

    Returns:
        `path`.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(vocab_size)
    tokenizer.save_pretrained(path)
    _write_processor_config(path, geometry)

    config = _config(geometry, vocab_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # for what `_randomise` leaves alone
        model = LlavaForConditionalGeneration(config)
    _randomise(model, seed)
    with torch.no_grad():
        model.lm_head.weight[tokens_never_generated(tokenizer, vocab_size)] = 0
    state = {_hub_name(name): weight.to(dtype).contiguous() for name, weight in model.state_dict().items()}
    if config.tie_word_embeddings:
        del state[_hub_name("lm_head.weight")]
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})

    config.dtype = dtype
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(path)
    model.generation_config.save_pretrained(path)
    return path


def random_image(seed: int, size: int = 64) -> Image.Image:
    """A picture of coloured blocks: its patches differ from each other, so its image tokens do too."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST)


def _write_processor_config(path: Path, geometry: Geometry) -> None:
    """Written by hand, as the public checkpoints carry it: saving through a processor object would need torchvision."""
    size = geometry.image_size
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": geometry.patch_size,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": "<image>",
    }
    image_processor = {
        "processor_class": "LlavaProcessor",
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (path / "processor_config.json").write_text(json.dumps(processor, indent=2))
    (path / "preprocessor_config.json").write_text(json.dumps(image_processor, indent=2))
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _config(geometry: Geometry, vocab_size: int) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=geometry.vision_hidden_size,
        intermediate_size=2 * geometry.vision_hidden_size,
        num_hidden_layers=geometry.vision_layers,
        num_attention_heads=geometry.vision_hidden_size // 32,
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        projection_dim=64,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=_text_config(geometry, vocab_size),
        image_token_index=IMAGE_TOKEN_ID,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=geometry.num_image_tokens,
        tie_word_embeddings=geometry.windowed_layers is not None,
    )


def _text_config(geometry: Geometry, vocab_size: int) -> LlamaConfig | MistralConfig | Gemma2Config:
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": geometry.hidden_size,
        "intermediate_size": geometry.intermediate_size,
        "num_hidden_layers": geometry.num_layers,
        "num_attention_heads": geometry.num_heads,
        "num_key_value_heads": geometry.num_kv_heads,
        "head_dim": geometry.head_dim,
        "max_position_embeddings": geometry.max_position_embeddings,
        "bos_token_id": BOS_TOKEN_ID,
        "eos_token_id": EOS_TOKEN_ID,
        "pad_token_id": PAD_TOKEN_ID,
    }
    if geometry.windowed_layers is not None:
        kinds = ["full_attention", "sliding_attention"]
        return Gemma2Config(
            **common,
            sliding_window=geometry.sliding_window,
            layer_types=[kinds[layer in geometry.windowed_layers] for layer in range(geometry.num_layers)],
            attn_logit_softcapping=geometry.soft_cap,
            final_logit_softcapping=None,
            query_pre_attn_scalar=geometry.head_dim,
            tie_word_embeddings=True,
        )
    if geometry.sliding_window is not None:
        return MistralConfig(**common, sliding_window=geometry.sliding_window, tie_word_embeddings=False)
    return LlamaConfig(**common, tie_word_embeddings=False)


def _randomise(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Normal weights scaled so that every matrix keeps the variance of its input, some of them raised.

    Queries and keys: attention logits of standard deviation about 2. Output projection and output embedding: attention
    matters for the logits, and the best token leads clearly.
    """
    gains = {"language_model": {"q_proj": 1.5, "k_proj": 1.5, "v_proj": 1.5, "o_proj": 2.0}, "lm_head": 4.0}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2 or "norm" in name:
                continue  # biases and norm weights keep their start values, 0 and 1
            fan_in = weight[0].numel() if "embed" not in name or "patch" in name else 1
            gain = gains["lm_head"] if "lm_head" in name else 1.0
            if "language_model" in name:
                gain = next((g for key, g in gains["language_model"].items() if key in name), 1.0)
            weight.normal_(0, gain * fan_in**-0.5, generator=generator)


def _hub_name(name: str) -> str:
    """Name of a weight in the public LLaVA-1.5 checkpoints; vLLM 0.32 loads those and not transformers 5's own."""
    for ours, hub in (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ):
        if name.startswith(ours):
            return hub + name.removeprefix(ours)
    raise ValueError(f"weight {name!r} has no known name in a public LLaVA checkpoint")
