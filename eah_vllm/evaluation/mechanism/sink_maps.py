"""What the built-in model's heads attend to: whole attention maps from Hugging Face, reduced to image columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoProcessor, LlavaForConditionalGeneration

from eah_vllm.evaluation.tasks.scenes import CAPTION_TOKENS
from eah_vllm.method.sinks import mean_over_later_rows
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import image_prompt
from eah_vllm.scenes.world import Scene, make_scene

BATCH = 16


@dataclass(frozen=True)
class Seen:
    """What the model did with some pictures.

    Attributes:
        received: float32 `[pictures, layers, heads, image tokens]`, mean attention that each receives from later rows.
        captions: greedy captions without EAH, by unit.
        prompt_tokens: S, the number of tokens of every prompt.
    """

    received: Tensor
    captions: Mapping[str, str]
    prompt_tokens: int


def look(model_path: Path, units: Sequence[str], captions: Mapping[str, str]) -> Seen:
    """Run the caption prompt of each scene with whole attention maps; generate the captions that are not given.

    Args:
        model_path: a checkpoint of the built-in model's kind.
        units: seeds of scenes.
        captions: captions by unit, where they are known.
    """
    model = LlavaForConditionalGeneration.from_pretrained(
        model_path, dtype=torch.float32, attn_implementation={"text_config": "eager", "vision_config": "sdpa"}
    ).eval()
    processor = AutoProcessor.from_pretrained(model_path)
    received, written = [], dict(captions)
    for start in tqdm(range(0, len(units), BATCH), desc="sinks", unit="batches"):
        batch = units[start : start + BATCH]
        inputs = _inputs(processor, [make_scene(int(unit)) for unit in batch])
        columns = (inputs["input_ids"][0] == model.config.image_token_index).nonzero()[:, 0]
        with torch.inference_mode():
            maps = model(**inputs, output_attentions=True).attentions
            received.append(torch.stack([image_columns(layer, columns) for layer in maps], dim=1))
            if any(unit not in captions for unit in batch):
                tokens = model.generate(**inputs, max_new_tokens=CAPTION_TOKENS, do_sample=False)
                texts = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
                written |= {unit: text for unit, text in zip(batch, texts, strict=True) if unit not in captions}
    return Seen(torch.cat(received), {unit: written[unit] for unit in units}, inputs["input_ids"].shape[1])


def image_columns(maps: Tensor, columns: Tensor) -> Tensor:
    """Compute the mean attention that image tokens receive from later rows, without the diagonal.

    Args:
        maps: `[pictures, heads, S, S]`, attention maps after the softmax.
        columns: int64 `[image tokens]`, their positions in the prompt.

    Returns:
        `[pictures, heads, image tokens]`.
    """
    received = maps.float().tril(-1).sum(dim=2)[:, :, columns]
    return mean_over_later_rows(received, maps.shape[-1] - 1 - columns)


def _inputs(processor: Any, scenes: Sequence[Scene]) -> Any:
    prompts = [image_prompt(CAPTION_REQUEST)] * len(scenes)
    return processor(text=prompts, images=[[scene.pil()] for scene in scenes], return_tensors="pt")
