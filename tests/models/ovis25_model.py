"""Ovis2.5, of which transformers has no class: the reference is its vision tower, written here, and Qwen 3."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel, Qwen3ForCausalLM

from tests.models.family import HIDDEN
from tests.models.remote_code.configuration_ovis2_5 import Ovis2_5_Config

WIDTH, VISION_HEADS, PATCH, STRIDE, INDICATORS = 64, 2, 56, 2, 4


class VisionLayer(nn.Module):
    """Attention of all patches of one picture, with their rows and columns in the rotation; names as in checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in names})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 2 * WIDTH), "fc2": nn.Linear(2 * WIDTH, WIDTH)})

    def forward(self, seen: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """`[patches, width]` and `[patches, half a head's width]`."""
        normal = self.layer_norm1(seen)
        query, key, value = (
            self.self_attn[name](normal).reshape(len(seen), VISION_HEADS, -1).transpose(0, 1)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        query, key = (_rotated(part, angles) for part in (query, key))
        shares = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1)
        seen = seen + self.self_attn["out_proj"]((shares @ value).transpose(0, 1).reshape(len(seen), -1))
        inner = F.gelu(self.mlp["fc1"](self.layer_norm2(seen)), approximate="tanh")
        return seen + self.mlp["fc2"](inner)


def _rotated(part: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    first, second = part.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class VisionModel(nn.Module):
    """Patches, with a table of places that is stretched over the picture."""

    def __init__(self, side: int, layers: int) -> None:
        super().__init__()
        self.side = side
        patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.embeddings = nn.ModuleDict(
            {"patch_embedding": patches, "position_embedding": nn.Embedding(side * side, WIDTH)}
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList([VisionLayer() for _ in range(layers)])})
        self.post_layernorm = nn.LayerNorm(WIDTH, eps=1e-6)  # what is read is read before it

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`[3, height, width]` to `[rows, columns, width]`."""
        patches = self.embeddings["patch_embedding"](pixels[None])[0].permute(1, 2, 0)
        rows, columns = patches.shape[:2]
        table = self.embeddings["position_embedding"].weight.reshape(1, self.side, self.side, WIDTH).permute(0, 3, 1, 2)
        places = F.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
        speeds = 10000 ** -(torch.arange(WIDTH // VISION_HEADS // 4) / (WIDTH // VISION_HEADS // 4))
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        angles = (grid[:, :, None] * speeds).flatten(1)
        seen = (patches + places).reshape(rows * columns, WIDTH)
        for layer in self.encoder["layers"]:
            seen = layer(seen, angles)
        return seen.reshape(rows, columns, WIDTH)


class Ovis2_5(PreTrainedModel):
    """Four patches become shares of visual words; between two indicators they stand in the prompt."""

    config_class = Ovis2_5_Config
    _supports_attention_backend = True

    def __init__(self, config: Ovis2_5_Config) -> None:
        super().__init__(config)
        vision: Any = config.vit_config
        tower = nn.ModuleDict({"vision_model": VisionModel(vision.image_size // PATCH, vision.num_hidden_layers)})
        words = config.visual_vocab_size - INDICATORS
        head = nn.Sequential(nn.Linear(WIDTH * STRIDE**2, words, bias=False), nn.LayerNorm(words))
        self.llm = Qwen3ForCausalLM(config.llm_config)
        self.visual_tokenizer = nn.ModuleDict({"vit": tower, "head": head})
        self.vte = nn.Embedding(config.visual_vocab_size, HIDDEN)
        self.generation_config = self.llm.generation_config
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.lm_head

    def generate(self, input_ids: torch.Tensor, pictures: Any = (), pad: int = 0, **more: Any) -> Any:
        """Put each picture's embeddings where the prompt has pads, and generate."""
        embeddings = self.llm.get_input_embeddings()(input_ids)
        if pictures:
            embeddings[input_ids == pad] = torch.cat([self._see(picture) for picture in pictures])
        return self.llm.generate(input_ids=input_ids, inputs_embeds=embeddings, **more)

    def _see(self, pixels: torch.Tensor) -> torch.Tensor:
        tower, head = self.visual_tokenizer["vit"]["vision_model"], self.visual_tokenizer["head"]
        seen = tower(pixels)
        rows, columns = (length // STRIDE for length in seen.shape[:2])
        squares = seen.reshape(rows, STRIDE, columns, STRIDE, WIDTH).transpose(1, 2).reshape(rows * columns, -1)
        shares = torch.softmax(head(squares), dim=-1)
        start, end = self.vte.weight[-INDICATORS], self.vte.weight[1 - INDICATORS]
        return torch.cat([start[None], shares @ self.vte.weight[:-INDICATORS], end[None]])
