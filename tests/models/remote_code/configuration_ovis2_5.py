"""The configuration that a checkpoint of Ovis2.5 brings along: a vision tower without a fixed size, and Qwen3."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, Qwen3Config


class Siglip2NavitConfig(PreTrainedConfig):
    """The vision tower's; a checkpoint says every field that it needs."""

    model_type = "siglip2_navit"


class Ovis2_5_Config(PreTrainedConfig):
    """A picture becomes shares of `visual_vocab_size` visual words, the last four of which are indicators."""

    model_type = "ovis2_5"
    sub_configs = {"llm_config": Qwen3Config, "vit_config": Siglip2NavitConfig}  # noqa: RUF012 - transformers reads it

    def __init__(
        self,
        llm_config: dict[str, Any] | None = None,
        vit_config: dict[str, Any] | None = None,
        visual_vocab_size: int = 65536,
        hidden_size: int | None = None,
        **more: Any,
    ) -> None:
        self.llm_config = Qwen3Config(**llm_config or {})
        self.vit_config = Siglip2NavitConfig(**vit_config or {})
        self.visual_vocab_size = visual_vocab_size
        self.hidden_size = hidden_size
        super().__init__(**more)
