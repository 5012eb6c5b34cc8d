"""The same requests without EAH in transformers, on the device that is checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor


def off_answers(folder: Path, cases: Sequence[dict[str, Any]], device: str, dtype: str) -> list[dict[str, Any]]:
    """Return tokens and log-probabilities at the first position for each case, with eager attention."""
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager"
    )
    model.generation_config.eos_token_id = None
    model = model.eval().to(device)
    processor = AutoProcessor.from_pretrained(folder)
    answers = []
    for case in cases:
        images = [Image.open(folder / "pictures" / file).convert("RGB") for file in case["pictures"]]
        inputs = processor(text=case["prompt"], images=images, return_tensors="pt").to(device)
        tokens = len(case["off"]["tokens"])
        with torch.inference_mode():
            out = model.generate(
                **inputs,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        logprobs = torch.log_softmax(out.logits[0][0].float(), dim=-1)
        generated = out.sequences[0, inputs["input_ids"].shape[1] :]
        answers.append({"tokens": generated.tolist(), "logprobs": logprobs.tolist()})
    return answers
