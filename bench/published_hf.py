"""What a user has without this project: Hugging Face eager attention and the released code's loop over the heads.

It is written from a description of `atten_process_cal` in the authors' repository (itsqyh/Shallow-Focus-Deep-Fixes,
modeling_llama_eah.py), which runs in every forward pass of its layer, goes through the heads one by one, deep-copies
the map of each head that has most sinks so far, and writes the last one over every head. What is fixed for LLaVA-1.5
there is set for this model here: image positions, divisor, heads, layer and threshold.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, AutoProcessor, LlavaForConditionalGeneration
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import repeat_kv

from bench.children import answer


class _Published:
    def start(self, model: str, layer: int, relative_threshold: float) -> None:
        self.layer, self.relative_threshold = layer, relative_threshold
        AttentionInterface.register("published_eah", self.attention)
        AttentionMaskInterface.register("published_eah", eager_mask)
        self.processor = AutoProcessor.from_pretrained(model)
        self.model = LlavaForConditionalGeneration.from_pretrained(
            model,
            dtype=torch.float32,
            attn_implementation={"text_config": "published_eah", "vision_config": "eager"},
        ).eval()
        self.image_id = self.model.config.image_token_index
        self.broadcasts = 0

    def attention(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Compute the eager attention of transformers `[batch, heads, rows, head_dim]`, with the loop in one layer."""
        keys, values = repeat_kv(key, module.num_key_value_groups), repeat_kv(value, module.num_key_value_groups)
        scores = torch.matmul(query, keys.transpose(2, 3)) * kwargs["scaling"]
        if attention_mask is not None:
            scores = scores + attention_mask
        attention = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        if module.layer_idx == self.layer:
            self.process(attention)
        return torch.matmul(attention, values).transpose(1, 2).contiguous(), attention

    def process(self, attention_map: Tensor) -> None:
        """Run the loop of the released code in place, on an attention map `[1, heads, rows, columns]`."""
        num_heads, num_rows = attention_map.shape[1:3]
        start, stop, length = self.span
        most, source, copied = 0, -1, None
        for head in range(num_heads):
            current = attention_map[0][head]
            mask = ~torch.eye(num_rows, dtype=torch.bool)
            received = torch.sum(current * mask, dim=0)[start:stop]
            received = received / torch.arange(length - 1 - start, length - 1 - stop, -1)
            sinks = torch.nonzero(received > self.relative_threshold / length)
            if len(sinks) > most:
                most, source, copied = len(sinks), head, deepcopy(current)
        if source > 0:
            self.broadcasts += 1
            for head in range(num_heads):
                attention_map[0][head] = copied

    def answers(self, images: list[Image.Image], prompt: str, tokens: int) -> tuple[float, int]:
        """Answer one request after another; return the seconds, from pictures to text, and the number of broadcasts."""
        self.broadcasts, started = 0, time.perf_counter()
        for image in images:
            inputs = self.processor(text=prompt, images=image, return_tensors="pt")
            positions = torch.nonzero(inputs["input_ids"][0] == self.image_id).flatten()
            self.span = int(positions[0]), int(positions[-1]) + 1, inputs["input_ids"].shape[1]
            with torch.inference_mode():
                output = self.model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            new = output[0, inputs["input_ids"].shape[1] :]
            if len(new) != tokens:
                raise RuntimeError(f"{len(new)} tokens, not {tokens}")
            self.processor.decode(new)
        return time.perf_counter() - started, self.broadcasts


def serve(connection: Any) -> None:
    """Run the child process, which answers calls over the connection."""
    published = _Published()
    answer(connection, {"start": published.start, "answers": published.answers})
