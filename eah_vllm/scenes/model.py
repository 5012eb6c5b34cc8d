"""The built-in model's architecture: a small LLaVA of the standard classes, so that any LLaVA engine can load it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPVisionConfig, DynamicCache, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from eah_vllm.scenes.packing import IGNORE, PackedBatch, Packer
from eah_vllm.scenes.tokenizer import BOS_ID, EOS_ID, IMAGE_ID, PAD_ID
from eah_vllm.scenes.world import MODEL_SIZE

PATCH = 8
IMAGE_TOKENS = (MODEL_SIZE // PATCH) ** 2


@dataclass(frozen=True)
class ModelSize:
    """Numbers of layers and widths; the head size is always 32."""

    layers: int = 6
    heads: int = 8
    hidden: int = 128
    mlp: int = 384
    vision_layers: int = 5
    vision_hidden: int = 128


def build_model(size: ModelSize, vocabulary: int) -> LlavaForConditionalGeneration:
    """Make an untrained model with room for `vocabulary` tokens, rounded up to a multiple of 64."""
    vision = CLIPVisionConfig(
        hidden_size=size.vision_hidden,
        intermediate_size=3 * size.vision_hidden,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.vision_hidden // 32,
        image_size=MODEL_SIZE,
        patch_size=PATCH,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=32,
        max_position_embeddings=1024,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=IMAGE_TOKENS,
    )
    return LlavaForConditionalGeneration(config)


def vision_features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Compute the features that LLaVA reads, `[batch, 144, width]`: of the last layer but one, without the class token.

    The last layer, which LLaVA never uses, is not computed.
    """
    tower = model.model.vision_tower
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, None)
    features: Tensor = hidden[:, 1:]
    return features


def answer_loss(model: LlavaForConditionalGeneration, packer: Packer, pixels: Tensor, batch: PackedBatch) -> Tensor:
    """Compute the weighted cross-entropy of all answers in a packed batch.

    The picture is computed first and alone; the branches read its keys and values. Nothing attends to the last layer's
    output for the picture, so no gradient is computed for it.
    """
    image = model.model.multi_modal_projector(vision_features(model, pixels))
    embed, decoder = model.get_input_embeddings(), model.model.language_model
    before = embed(torch.tensor(packer.prefix[: packer.image_start]).expand(len(pixels), -1))
    cache = DynamicCache()
    decoder(inputs_embeds=torch.cat([before, image], 1), past_key_values=cache, use_cache=True)
    hidden = decoder(
        inputs_embeds=embed(batch.tokens),
        attention_mask=batch.mask,
        position_ids=batch.positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    learnt = batch.labels != IGNORE
    losses = F.cross_entropy(model.lm_head(hidden[learnt]), batch.labels[learnt], reduction="none")
    weights = batch.weights[learnt]
    return (losses * weights).sum() / weights.sum()
