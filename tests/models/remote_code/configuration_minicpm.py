"""The configurations that checkpoints of MiniCPM-V bring along: the language model's, with what else the whole has."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config, Qwen3Config
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig

FIELDS = {"query_num": 64, "image_size": 448, "max_slice_num": 9, "drop_vision_last_layer": False}
PARTS = {"vision_config": Idefics2VisionConfig}


def _take(config: PreTrainedConfig, fields: dict[str, Any], version: float) -> dict[str, Any]:
    """Set what the language model's configuration does not know, and return the rest."""
    config.vision_config = Idefics2VisionConfig(**fields.pop("vision_config", None) or {})
    for name, default in (FIELDS | {"version": version}).items():
        setattr(config, name, fields.pop(name, default))
    return fields


class MiniCPMV45Config(Qwen3Config):
    """Of MiniCPM-V 4.5."""

    model_type, sub_configs = "minicpmv", PARTS

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_take(self, fields, 4.5))


class MiniCPMV40Config(LlamaConfig):
    """Of MiniCPM-V 4.0."""

    model_type, sub_configs = "minicpmv", PARTS

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_take(self, fields, 4.0))


class MiniCPMV26Config(Qwen2Config):
    """Of MiniCPM-V 2.6."""

    model_type, sub_configs = "minicpmv", PARTS

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_take(self, fields, 2.6))
