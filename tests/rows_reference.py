"""Hugging Face eager reference of the methods that act on generated rows, VHR and CLVA, alone and beside EAH.

Slow, one request at a time, float32, written from definitions, not from our code. What a method does is in
`vhr_reference.py` and `clva_reference.py`, EAH in `reference.py`; here is when it acts: it reads the row that predicts
the first token, and changes the attention outputs of that row and of every row after it, before the output projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoProcessor,
    LlavaForConditionalGeneration,
)
from transformers.masking_utils import eager_mask

from tests.clva_reference import CLVA, Anchored, clva_of
from tests.reference import LayerOutcome, ReferenceOutput, _prepare, _Request, _resolve, _select, greedy
from tests.vhr_reference import VHR, Reinforced, vhr_of

Methods = Mapping[str, Mapping[str, Any]]
"""The options of each method of a request, by its name; empty for a plain request."""


@dataclass(slots=True)
class RowsOutput(ReferenceOutput):
    """A greedy answer, and what each method of the request saw and did, in layer order."""

    vhr: list[Reinforced] = field(default_factory=list)
    clva: list[Anchored] = field(default_factory=list)
    image_free_tokens: int = 0
    """Length of the prompt without its image tokens, for VHR."""


@dataclass(slots=True)
class _Pass:
    """What the attention of every layer does, and what it remembers from the prompt's step to those of the answer."""

    prompt_length: int
    image_columns: list[int] = field(default_factory=list)
    eah: _Request | None = None
    on_rows: list[VHR | CLVA] = field(default_factory=list)
    outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    """Attention output of the prompt's last row, before any change, by layer, `[heads, dim]`."""
    changes: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Factor `[heads, 1]` and vector `[heads, dim]` of the layers that change rows."""

    def attend(self, layer: int, maps: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Outputs `[heads, rows, dim]` from `maps` `[heads, rows, keys]` of the sequence's last rows and `value`
        `[heads, keys, dim]`.
        """
        first = maps.shape[2] - maps.shape[1]
        last = self.prompt_length - 1 - first  # the row that predicts the first token, where this step computes it
        if self.eah is not None and first == 0 and layer in self.eah.layers:
            outcome = _select(maps, layer, self.eah)
            self.eah.report.append(outcome)
            if outcome.head is not None:
                maps = maps[outcome.head].expand_as(maps)
        output = maps @ value
        if last >= 0:
            self.outputs[layer] = output[:, last].clone()
            for method in self.on_rows:
                if layer in method.layers:
                    self.changes[layer] = method.at_last_row(
                        layer, maps[:, last], output[:, last], value, self.image_columns
                    )
        if layer in self.changes:
            factor, shift = self.changes[layer]
            for row in range(max(last, 0), maps.shape[1]):
                output[:, row] = output[:, row] * factor + shift
        return output


def rows_generate(
    path: str | Path,
    prompt: str | list[int],
    images: list[Image.Image],
    methods: Methods,
    max_tokens: int = 16,
) -> RowsOutput:
    """Greedy generation with any of `eah`, `vhr` and `clva`; never stops at the end of the sentence.

    Args:
        path: Folder of a LLaVA checkpoint.
        prompt: Text with one `<image>` per image, or token ids with one image token per image (or already expanded).
        images: Pictures, in the order of their placeholders.
        methods: Options of each method, as a caller writes them, without `report`. The `heads` of VHR may be those to
            reinforce, by layer.
        max_tokens: Tokens to generate.
    """
    model, processor = load_rows_reference(str(path))
    input_ids, pixel_values = _prepare(model, processor, prompt, images)
    image_token = model.config.image_token_index
    request = _Pass(len(input_ids), [column for column, token in enumerate(input_ids) if token == image_token])
    num_layers = len(model.model.language_model.layers)
    vhr = clva = None
    if request.image_columns:  # without an image no method does anything
        if "eah" in methods:
            request.eah = _resolve(dict(methods["eah"]), input_ids, model, None)
        if "vhr" in methods:
            text = [token for token in input_ids if token != image_token]
            image_free = _Pass(len(text))
            _generate(model, image_free, text, None, 1)
            vhr = vhr_of(methods["vhr"], num_layers, image_free.outputs, len(text))
            request.on_rows.append(vhr)
        if "clva" in methods:
            clva = clva_of(methods["clva"], num_layers)
            request.on_rows.append(clva)
    tokens, rows = _generate(model, request, input_ids, pixel_values, max_tokens)
    eah: list[LayerOutcome] = request.eah.report if request.eah is not None else []
    return RowsOutput(
        tokens,
        torch.stack([row[-1] for row in rows]),
        rows[0],
        input_ids,
        eah,
        vhr.report if vhr is not None else [],
        clva.report if clva is not None else [],
        vhr.image_free_tokens if vhr is not None else 0,
    )


def _generate(
    model: Any, request: _Pass, input_ids: list[int], pixel_values: torch.Tensor | None, max_tokens: int
) -> tuple[list[int], list[torch.Tensor]]:
    """The tokens, and of each step the log-softmax of its rows, `[rows, vocab]`."""
    for layer in model.model.language_model.layers:
        layer.self_attn.rows_request = request
    return greedy(model, input_ids, pixel_values, max_tokens)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Eager attention of the request that the layer holds.

    Shapes: query `[1, heads, rows, dim]`, key and value `[1, kv_heads, keys, dim]`; result `[1, rows, heads, dim]`.
    """
    group = query.shape[1] // key.shape[1]
    key, value = key[0].repeat_interleave(group, 0), value[0].repeat_interleave(group, 0)
    logits = query[0] @ key.transpose(1, 2) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask[0]
    output = module.rows_request.attend(module.layer_idx, torch.softmax(logits, dim=-1), value)
    return output.transpose(0, 1)[None].contiguous(), None


@lru_cache(maxsize=4)
def load_rows_reference(path: str) -> tuple[Any, Any]:
    AttentionInterface.register("rows_reference", _attention)
    AttentionMaskInterface.register("rows_reference", eager_mask)
    model = LlavaForConditionalGeneration.from_pretrained(
        path, dtype=torch.float32, attn_implementation={"text_config": "rows_reference", "vision_config": "eager"}
    )
    return model.eval(), AutoProcessor.from_pretrained(path)
