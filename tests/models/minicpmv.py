"""MiniCPM-V 4.5, of which transformers has no class: the reference is put together from its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoProcessor, PreTrainedModel, Qwen3ForCausalLM
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionTransformer

from tests.models.family import TEXT, Family
from tests.models.remote_code.configuration_minicpm import MiniCPMVConfig
from tests.models.remote_code.image_processing_minicpmv import MiniCPMVImageProcessor
from tests.models.remote_code.processing_minicpmv import PICTURE, MiniCPMVProcessor

TILE, QUERIES, PATCH = 56, 4, 14
UNKNOWN_TOKEN_ID = 0
for code in (MiniCPMVConfig, MiniCPMVImageProcessor, MiniCPMVProcessor):
    code.register_for_auto_class()


class Resampler(nn.Module):
    """Queries that attend to a slice's patches, whose places are sines and cosines; names as in checkpoints."""

    def __init__(self, queries: int, width: int, vision_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(queries, width))
        self.kv_proj = nn.Linear(vision_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, width // 128, batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.proj = nn.Parameter(torch.empty(width, width))

    def forward(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """`[rows x columns, vision width]` to `[queries, width]`."""
        keys = self.ln_kv(self.kv_proj(patches))
        places = _places(rows, columns, keys.shape[-1]).to(keys)
        found, _ = self.attn(self.ln_q(self.query)[None], (keys + places)[None], keys[None], need_weights=False)
        return self.ln_post(found[0]) @ self.proj


def _places(rows: int, columns: int, width: int) -> torch.Tensor:
    """First half: sines and cosines of the column; second half: of the row."""
    speeds = torch.tensor([10000 ** (-idx / (width // 4)) for idx in range(width // 4)], dtype=torch.float64)

    def waves(position: int) -> torch.Tensor:
        return torch.cat([torch.sin(position * speeds), torch.cos(position * speeds)])

    return torch.stack([torch.cat([waves(column), waves(row)]) for row in range(rows) for column in range(columns)])


class MiniCPMV(PreTrainedModel):
    """transformers' vision tower of Idefics 2, a resampler, and transformers' Qwen 3; names as in checkpoints."""

    config_class = MiniCPMVConfig
    _supports_attention_backend = True

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        vision: Any = config.vision_config
        self.llm = Qwen3ForCausalLM(config)
        self.vpm = Idefics2VisionTransformer(vision)
        self.resampler = Resampler(config.query_num, config.hidden_size, vision.hidden_size)
        self.generation_config = self.llm.generation_config
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.lm_head

    def generate(
        self,
        input_ids: torch.Tensor,
        pixel_values: list[list[torch.Tensor]] | None = None,
        tgt_sizes: list[torch.Tensor] | None = None,
        image_sizes: Any = None,
        **more: Any,
    ) -> Any:
        """Put each picture's embeddings where the prompt has unknown tokens, and generate."""
        embeddings = self.llm.get_input_embeddings()(input_ids)
        if pixel_values and tgt_sizes:
            slices = zip(pixel_values[0], tgt_sizes[0].tolist(), strict=True)
            seen = torch.cat([self._see(pixels, rows, columns) for pixels, (rows, columns) in slices])
            embeddings[input_ids == UNKNOWN_TOKEN_ID] = seen
        return self.llm.generate(input_ids=input_ids, inputs_embeds=embeddings, **more)

    def _see(self, pixels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Put the patches, which stand side by side, where they were in the slice."""
        grid = pixels.reshape(3, PATCH, rows, columns, PATCH)
        whole = grid.permute(0, 2, 1, 3, 4).reshape(1, 3, rows * PATCH, columns * PATCH)
        return self.resampler(self.vpm(whole).last_hidden_state[0], rows, columns)


def _config(_: Any) -> MiniCPMVConfig:
    return MiniCPMVConfig(
        **TEXT,
        architectures=["MiniCPMV"],
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 2 * TILE,
            "patch_size": PATCH,
        },
        query_num=QUERIES,
        image_size=TILE,
        max_slice_num=4,
    )


MINICPMV45 = Family(
    "MiniCPMV",
    config=_config,
    processor=lambda tokenizer: MiniCPMVProcessor(
        MiniCPMVImageProcessor(max_slice_nums=4, scale_resolution=TILE, patch_size=PATCH, image_feature_size=QUERIES),
        tokenizer,
    ),
    image=PICTURE,
    image_token="<unk>",
    specials={
        "im_start": "<image>",
        "im_end": "</image>",
        "slice_start": "<slice>",
        "slice_end": "</slice>",
        "im_id_start": "<image_id>",
        "im_id_end": "</image_id>",
    },
    image_tokens=(1 + 2 * 2) * QUERIES,
    between=("</image>", "<slice>", "</slice>", "\n"),
    model=MiniCPMV,
    remote_code=True,
    text_config="",
    load_processor=lambda path: AutoProcessor.from_pretrained(path, trust_remote_code=True),
)
