"""The configuration that a checkpoint of InternVL in its original layout brings along."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig


class InternVisionConfig(PreTrainedConfig):
    """The vision tower's; a checkpoint says every field that it needs."""

    model_type = "intern_vit_6b"


class InternVLChatConfig(PreTrainedConfig):
    """A vision tower, a language model of any kind, and how pictures are cut into tiles."""

    model_type = "internvl_chat"
    has_no_defaults_at_init = True

    def __init__(
        self,
        vision_config: dict[str, Any],
        llm_config: dict[str, Any],
        select_layer: int = -1,
        force_image_size: int | None = None,
        downsample_ratio: float = 0.5,
        ps_version: str = "v1",
        dynamic_image_size: bool = False,
        use_thumbnail: bool = False,
        min_dynamic_patch: int = 1,
        max_dynamic_patch: int = 6,
        **more: Any,
    ) -> None:
        self.vision_config = InternVisionConfig(**vision_config)
        self.llm_config = CONFIG_MAPPING[llm_config["model_type"]](**llm_config)
        self.select_layer = select_layer
        self.force_image_size = force_image_size
        self.downsample_ratio = downsample_ratio
        self.ps_version = ps_version
        self.dynamic_image_size = dynamic_image_size
        self.use_thumbnail = use_thumbnail
        self.min_dynamic_patch = min_dynamic_patch
        self.max_dynamic_patch = max_dynamic_patch
        super().__init__(**more)
