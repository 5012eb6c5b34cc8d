"""A method of a few lines, as another package would add one: it multiplies one head's output over the prompt's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from eah_vllm.method.base import LayerReport, LayerStep, Method, Parts, Prompt
from eah_vllm.method.registry import register as register_method
from eah_vllm.options import LayerOptions, MethodOptions, OptionError
from eah_vllm.settings import MethodSettings, ModelShape, layers_of


class ScaledHeadOptions(LayerOptions):
    head: int | None = Field(None, ge=0, description="the head that is scaled, 0-based")
    factor: float | None = Field(None, description="what its output is multiplied by")


@dataclass(frozen=True)
class ScaledHeadSettings(MethodSettings):
    VERSION: ClassVar[str] = "1"

    head: int
    factor: float


class ScaledHead(Method):
    name: ClassVar[str] = "scaled"
    Options: ClassVar[type[MethodOptions]] = ScaledHeadOptions

    def resolve(self, said: Any, defaults: Any, shape: ModelShape, prefix: str | None = None) -> ScaledHeadSettings:
        full = said.over(defaults).over(ScaledHeadOptions(layer=1, head=0, factor=0.5))
        prefix = prefix or "scaled."
        if full.head >= shape.num_heads:
            raise OptionError(prefix + "head", f"this model has heads 0..{shape.num_heads - 1}, got {full.head}")
        return ScaledHeadSettings(layers_of(full, shape, prefix), full.head, full.factor)

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        at.ordinary()
        num_heads = at.output.shape[1]
        for part in prompts.parts:
            head = part.state.settings.head - at.shards.rank * num_heads
            if 0 <= head < num_heads:
                at.output[part.rows, head] *= part.state.settings.factor
        return at.output.new_zeros(len(prompts.parts), 0)

    def explain(
        self, settings: Any, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        return {"layer": layer, "head": settings.head, "factor": settings.factor}, None


def register() -> None:
    """The entry point (`vllm.general_plugins`)."""
    register_method(ScaledHead())
