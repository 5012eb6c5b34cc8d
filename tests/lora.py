"""A random LoRA adapter for the language model of a tiny checkpoint, and the checkpoint with the adapter merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RANK, ALPHA = 8, 16
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def make_lora(checkpoint: Path, adapter: Path, merged: Path, seed: int = 0) -> None:
    """Write a PEFT adapter on every attention projection of `checkpoint`'s decoder, and the merged checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(checkpoint / "model.safetensors")
    factors = {}
    for name, weight in weights.items():
        if not name.startswith("language_model.") or name.split(".")[-2] not in PROJECTIONS:
            continue
        rows, columns = weight.shape
        down = torch.randn(RANK, columns, generator=generator) * columns**-0.5
        up = torch.randn(rows, RANK, generator=generator) * 0.5 * RANK**-0.5
        module = f"base_model.model.{name.removesuffix('.weight')}"
        factors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
        weights[name] = weight + ALPHA / RANK * up @ down

    adapter.mkdir()
    save_file(factors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(PROJECTIONS), "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))

    shutil.copytree(checkpoint, merged)
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
