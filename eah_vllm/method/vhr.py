"""VHR, vision-aware head reinforcement (ACL 2025, arXiv 2412.13949): amplify the heads that the image changes most.

Written from the paper's definitions; no code of its authors was at hand. What the paper leaves open and this file
decides: the standard deviations are those of a sample, prompt rows before the last are unchanged, and the first layers
are a share of the depth of which the paper's 14 of 32 is one case.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from eah_vllm.kernels.packed import on_device
from eah_vllm.method.base import LayerReport, LayerStep, Method, Parts, Prompt
from eah_vllm.method.draws import draw_heads
from eah_vllm.method.last_row import image_mass, last_rows, local_heads
from eah_vllm.method.rows import RowValue
from eah_vllm.options import MAX_SEED, LayerIdx, MethodOptions, OptionError, refuse_bool
from eah_vllm.report import NO_HEAD
from eah_vllm.settings import MethodSettings, ModelShape

START = 2.0
"""The paper's factor (alpha)."""


class VHROptions(MethodOptions):
    """Options of VHR."""

    BLAMED: ClassVar[str] = "layers"
    GO_WITH: ClassVar[Mapping[str, frozenset[str]]] = {"heads": frozenset({"seed"})}

    layers: Annotated[list[LayerIdx] | None, Field(min_length=1), BeforeValidator(refuse_bool)] = Field(
        None, description="decoder layers whose heads are chosen, 0-based"
    )
    factor: Annotated[float | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=100, description="what the outputs of the chosen heads are multiplied by"
    )
    heads: Literal["auto", "random"] | None = Field(
        None, description="the paper's choice, or as many heads drawn at random"
    )
    seed: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=MAX_SEED, description='which draw of random heads; it changes nothing beside `heads: "auto"`'
    )


@dataclass(frozen=True)
class VHRSettings(MethodSettings):
    """Settings of VHR."""

    VERSION: ClassVar[str] = "1"

    factor: float
    heads: str
    seed: int


def default_layers(num_layers: int) -> list[int]:
    """Return the paper's layers for LLaVA, the second and the last 14 of 32, as a share of the depth."""
    last = max(1, round(num_layers * 14 / 32))
    return sorted({min(1, num_layers - 1), *range(num_layers - last, num_layers)})


class VHR(Method):
    """Multiplies the outputs of the half of a layer's heads that differ most from those without the image."""

    name: ClassVar[str] = "vhr"
    Options: ClassVar[type[MethodOptions]] = VHROptions
    on_by_default: ClassVar[bool] = False
    needs_whole_prompt: ClassVar[bool] = False
    acts_on_rows: ClassVar[frozenset[RowValue]] = frozenset({"factor"})
    needs_image_free_pass: ClassVar[bool] = True
    random_twin: ClassVar[Mapping[str, Any] | None] = {"heads": "random"}

    def resolve(self, said: Any, defaults: Any, shape: ModelShape, prefix: str | None = None) -> VHRSettings:
        """Fill options; without `layers`, the paper's as a share of the depth."""
        full = said.over(defaults)
        layers = tuple(sorted(set(full.layers or default_layers(shape.num_layers))))
        if layers[-1] >= shape.num_layers:
            field = f"{prefix or 'vhr.'}layers"
            raise OptionError(field, f"this model has layers 0..{shape.num_layers - 1}, got {layers[-1]}")
        factor = START if full.factor is None else full.factor
        return VHRSettings(layers, factor, full.heads or "auto", (full.seed or 0) if full.heads == "random" else 0)

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Choose each prompt's heads.

        Returns:
            float32 `[prompts, 3 * heads]`: is the head chosen, its score, and its attention to the image (NaN where
            the prompt was not whole in this step, or nobody asked for a report).
        """
        at.ordinary()
        assert at.rows is not None
        rows, slots = last_rows(prompts, at.query.device)
        image_free = at.rows.image_free(at.layer, slots).float()
        scores = (at.output.index_select(0, rows).float() - image_free).norm(dim=-1)
        scores = at.shards.gather_heads(scores)
        chosen = choose_heads(scores, at.shards.gather_heads(image_free.square().sum(-1)))
        draws = [state.settings.heads == "random" for state in prompts.states]
        if any(draws):
            drawn, is_random = draw_heads(at, prompts, draws)
            chosen = torch.where(is_random, drawn, chosen)
        (factors,) = on_device([array("f", (state.settings.factor for state in prompts.states))], at.query.device)
        at.rows.put("factor", at.layer, slots, torch.where(local_heads(chosen, at), factors[:, None], 1.0))
        return torch.cat((chosen.float(), scores, at.shards.gather_heads(image_mass(at, prompts))), dim=1)

    def explain(
        self, settings: VHRSettings, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        """Return the report on one layer: the chosen heads, the factor, and of every head score and image mass."""
        num_heads = len(numbers) // 3
        chosen = [head for head in range(num_heads) if numbers[head]]
        mass = list(numbers[2 * num_heads :])
        report: dict[str, Any] = {"layer": layer, "heads": chosen, "factor": settings.factor}
        report["score"] = list(numbers[num_heads : 2 * num_heads])
        report["mass"] = mass if mass[0] == mass[0] else None
        return report, None if chosen else NO_HEAD

    def describe(self, defaults: Any, shape: ModelShape) -> Mapping[str, Any]:
        """Return defaults and limits."""
        start = VHROptions(layers=default_layers(shape.num_layers), factor=START, heads="auto", report=False)
        limits = {"layers": [0, shape.num_layers - 1], "factor": [0, 100], "seed": [0, MAX_SEED]}
        return {"defaults": defaults.over(start).model_dump(exclude_none=True), "limits": limits}


def choose_heads(scores: Tensor, image_free: Tensor) -> Tensor:
    """Return which heads of a layer are reinforced (sections 3.2 and 3.3 of the paper).

    Args:
        scores: vision-aware head divergence, float32 `[prompts, heads]`: the norm of the difference between a head's
            outputs with and without the image.
        image_free: squared norm of its output without the image, float32 `[prompts, heads]`.

    Returns:
        bool `[prompts, heads]`: the heads above the median. A head that stands out in both is an outlier, no such head.
    """

    def stands_out(values: Tensor) -> Tensor:
        return values > values.mean(-1, keepdim=True) + values.std(-1, keepdim=True)

    kept = scores.masked_fill(stands_out(scores) & stands_out(image_free), 0)
    ascending = kept.sort(dim=-1).values
    middle = ascending.shape[1] // 2
    median = (ascending[:, middle : middle + 1] + ascending[:, ~middle : ascending.shape[1] - middle]) / 2
    return kept > median
