"""The Hugging Face reference of `tests/reference.py` for any family: its own classes, its own processor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForImageTextToText
from transformers.masking_utils import eager_mask

from tests.models.family import Family
from tests.reference import LayerOutcome, ReferenceOutput, _eah_attention, _Request


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """One family's checkpoint, as transformers runs it."""

    family: Family
    path: Path

    def generate(
        self,
        prompt: str,
        images: list[Image.Image],
        eah: dict[str, Any] | None = None,
        max_tokens: int = 8,
        **videos: Any,
    ) -> ReferenceOutput:
        """Greedy generation with or without EAH; image tokens are where the prompt has the family's image token."""
        model, processor = _load(self)
        text = prompt.replace(self.family.image, self.family.image_of_reference or self.family.image)
        inputs = processor(text=text, images=images or None, return_tensors="pt", **videos)
        input_ids = inputs["input_ids"][0].tolist()
        request = None if eah is None else self._request(eah, input_ids, processor)
        for module in model.modules():
            module.eah_request = request
        with torch.inference_mode():
            out = model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                min_new_tokens=max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        rows = torch.log_softmax(torch.cat(out.logits).float(), dim=-1)
        tokens = out.sequences[0, len(input_ids) :].tolist()
        return ReferenceOutput(tokens, rows, rows[:0], input_ids, request.report if request else [])

    def _request(self, eah: dict[str, Any], input_ids: list[int], processor: Any) -> _Request:
        image_token = processor.tokenizer.convert_tokens_to_ids(self.family.image_token)
        columns = [column for column, token in enumerate(input_ids) if token == image_token]
        layers = eah["layer"] if isinstance(eah["layer"], list) else [eah["layer"]]
        threshold = eah["relative_threshold"] / len(input_ids) if "relative_threshold" in eah else eah["threshold"]
        return _Request(tuple(layers), threshold, eah.get("head", "auto"), 0.0, False, 0, None, columns, [])


@lru_cache(maxsize=2)
def _load(reference: Reference) -> tuple[Any, Any]:
    AttentionInterface.register("eah_reference", _eah_attention)
    AttentionMaskInterface.register("eah_reference", eager_mask)
    family, path = reference.family, reference.path
    model = (family.model or AutoModelForImageTextToText).from_pretrained(
        path, dtype=torch.float32, attn_implementation={family.text_config: "eah_reference", "vision_config": "eager"}
    )
    model.generation_config.eos_token_id = None
    return model.eval(), family.load_processor(path)


__all__ = ["LayerOutcome", "Reference"]
