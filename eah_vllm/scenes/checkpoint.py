"""Writes the built-in model as a checkpoint that both transformers and vLLM load."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from eah_vllm.scenes.model import PATCH
from eah_vllm.scenes.tokenizer import CHAT_TEMPLATE, IMAGE
from eah_vllm.scenes.verify_defaults import save_verify_defaults
from eah_vllm.scenes.world import MODEL_SIZE


def hub_name(name: str) -> str:
    """Return a weight's name in the public LLaVA-1.5 checkpoints, which vLLM reads; transformers reads both forms."""
    name = name.removeprefix("model.")
    if name.startswith("vision_tower."):
        return name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    if name.startswith("language_model."):
        return name.replace("language_model.", "language_model.model.", 1)
    return f"language_model.{name}" if name.startswith("lm_head.") else name


def save_checkpoint(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write fp16 weights, configuration, tokenizer, processor, chat template and `verify.json` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        weights[hub_name(name)] = (value.half() if value.is_floating_point() else value).contiguous()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors makes the file private, but a wheel's files must not be
    model.config.dtype = torch.float16
    model.config.architectures = ["LlavaForConditionalGeneration"]
    model.config.save_pretrained(out)
    model.generation_config.save_pretrained(out)
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": MODEL_SIZE}, crop_size={"height": MODEL_SIZE, "width": MODEL_SIZE}
    )
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,  # CLIP's class token, which the select strategy drops again
    )
    processor.save_pretrained(out)
    tokenizer.save_pretrained(out)
    save_verify_defaults(out)


def set_eah_defaults(checkpoint: Path, layer: int, relative_threshold: float) -> None:
    """Write the model's own EAH settings into its `config.json`, for the plugin, which enables all methods there."""
    path = checkpoint / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["eah"] = {"layer": layer, "methods": "all", "relative_threshold": relative_threshold}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
