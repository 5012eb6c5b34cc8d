"""The configuration that a checkpoint of MiniCPM-V 4.5 brings along: Qwen3's, with a vision tower and a resampler."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3Config
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig


class MiniCPMVConfig(Qwen3Config):
    """Fields of the language model stand beside those of the whole model."""

    model_type = "minicpmv"
    sub_configs = {"vision_config": Idefics2VisionConfig}  # noqa: RUF012 - as transformers reads it

    def __init__(
        self,
        vision_config: dict[str, Any] | None = None,
        query_num: int = 64,
        image_size: int = 448,
        max_slice_num: int = 9,
        drop_vision_last_layer: bool = False,
        version: float = 4.5,
        **more: Any,
    ) -> None:
        self.vision_config = Idefics2VisionConfig(**vision_config or {})
        self.query_num = query_num
        self.image_size = image_size
        self.max_slice_num = max_slice_num
        self.drop_vision_last_layer = drop_vision_last_layer
        self.version = version
        super().__init__(**more)
