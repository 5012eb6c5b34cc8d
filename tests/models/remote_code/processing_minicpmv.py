"""The processor that a checkpoint of MiniCPM-V brings along: it writes out what stands for each picture of a prompt."""

from __future__ import annotations

from typing import Any

from transformers import BatchFeature, ProcessorMixin

PICTURE = "(<image>./</image>)"


class MiniCPMVProcessor(ProcessorMixin):
    """An image processor and a tokenizer."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **more: Any) -> None:
        super().__init__(image_processor, tokenizer, **more)

    def __call__(self, text: str, images: Any = None, return_tensors: str | None = None, **_: Any) -> BatchFeature:
        """Return one prompt's tokens, and its pictures' slices."""
        first, *others = text.split(PICTURE)
        for number, (picture, after) in enumerate(zip(images or (), others, strict=True)):
            first += self.image_processor.get_slice_image_placeholder(picture.size, number) + after
        found = self.tokenizer(first, return_tensors=return_tensors)
        return BatchFeature({**found, **(self.image_processor.preprocess(images) if images else {})})
