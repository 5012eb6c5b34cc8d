"""A method inspired by CLVA, Cross-Layer Visual Anchors (arXiv 2603.25088). It is not CLVA.

Of CLVA only the abstract and captions are public: "attention of deep layers falls back to early-layer visual noise",
the layers in the middle hold the "anchors", a positive step keeps core semantics and a negative one excludes background
noise. What is not said there is invented here: the borders of the layers, that half of the heads count as sensitive,
the formula of the change and its strengths, and that it is computed once, at the row that predicts the first token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from eah_vllm.method.base import LayerReport, LayerStep, Method, Part, Parts, Prompt
from eah_vllm.method.draws import draw_directions
from eah_vllm.method.last_row import columns_on_device, image_attention, last_rows, local_heads, upper_half
from eah_vllm.method.rows import RowValue
from eah_vllm.options import MAX_SEED, LayerIdx, MethodOptions, OptionError, refuse_bool
from eah_vllm.settings import MethodSettings, ModelShape

Layers = Annotated[list[LayerIdx] | None, Field(min_length=1), BeforeValidator(refuse_bool)]
Strength = Annotated[float | None, BeforeValidator(refuse_bool), Field(ge=0, le=100)]
PARTS = ("early", "middle", "deep")
ALPHA, BETA = 0.2, 0.1
"""Invented, by analogy with VGA (0.2) and with the 5 : 2 of SAGE-ROI's two strengths."""


class CLVAOptions(MethodOptions):
    """Options of the method inspired by CLVA."""

    BLAMED: ClassVar[str] = "deep"
    GO_WITH: ClassVar[Mapping[str, frozenset[str]]] = {"direction": frozenset({"seed"})}

    early: Layers = Field(None, description="layers whose insensitive heads give the negative anchor, 0-based")
    middle: Layers = Field(None, description="layers whose sensitive heads give the positive anchor, 0-based")
    deep: Layers = Field(None, description="layers whose sensitive heads are changed, 0-based")
    alpha: Strength = Field(None, description="strength of the positive anchor")
    beta: Strength = Field(None, description="strength of the negative anchor")
    direction: Literal["auto", "random"] | None = Field(
        None, description="what the anchors say, or a random vector of the same length for each head"
    )
    seed: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=MAX_SEED, description='which draw of random vectors; only beside `direction: "random"`'
    )


@dataclass(frozen=True)
class CLVASettings(MethodSettings):
    """Settings of the method inspired by CLVA; `layers` are those of all three parts."""

    VERSION: ClassVar[str] = "1"

    early: tuple[int, ...]
    middle: tuple[int, ...]
    deep: tuple[int, ...]
    alpha: float
    beta: float
    direction: str
    seed: int

    def part_of(self, layer: int) -> str:
        """Return the part that a layer belongs to."""
        return next(part for part in PARTS if layer in getattr(self, part))


def default_layers(num_layers: int) -> dict[str, Any]:
    """Return the layers of each part (invented: up to 0.1, from 0.3 and from 0.62 of the depth)."""
    deep = round(0.62 * num_layers)
    bounds = (0, max(1, round(0.1 * num_layers))), (round(0.3 * num_layers), deep), (deep, num_layers)
    return {part: list(range(*bound)) for part, bound in zip(PARTS, bounds, strict=True)}


class CLVA(Method):
    """Draws the attention of deep layers to where the middle layers look, away from where the early ones look."""

    name: ClassVar[str] = "clva"
    Options: ClassVar[type[MethodOptions]] = CLVAOptions
    on_by_default: ClassVar[bool] = False
    acts_on_rows: ClassVar[frozenset[RowValue]] = frozenset({"shift"})
    carries_over_layers: ClassVar[bool] = True
    random_twin: ClassVar[Mapping[str, Any] | None] = {"direction": "random"}

    def resolve(self, said: Any, defaults: Any, shape: ModelShape, prefix: str | None = None) -> CLVASettings:
        """Fill options, and check that anchors are taken from layers before those that they change."""
        prefix, full = prefix or "clva.", said.over(defaults)
        start = default_layers(shape.num_layers)
        parts = {part: tuple(sorted(set(getattr(full, part) or start[part]))) for part in PARTS}
        for part, layers in parts.items():
            if not layers:
                raise OptionError(prefix + part, f"must be named: {shape.num_layers} layers are too few to divide")
            if layers[-1] >= shape.num_layers:
                raise OptionError(prefix + part, f"this model has layers 0..{shape.num_layers - 1}, got {layers[-1]}")
        early, middle, deep = parts.values()
        if set(early) & set(middle):
            raise OptionError(f"{prefix}middle", f"shares layer {min(set(early) & set(middle))} with early")
        if max(*early, *middle) >= deep[0]:
            found = f"got {max(*early, *middle)} and {deep[0]}"
            raise OptionError(f"{prefix}deep", f"must come after all early and middle layers, {found}")
        alpha, beta = (ALPHA if full.alpha is None else full.alpha), (BETA if full.beta is None else full.beta)
        seed = (full.seed or 0) if full.direction == "random" else 0
        layers = tuple(sorted((*early, *middle, *deep)))
        return CLVASettings(layers, early, middle, deep, alpha, beta, full.direction or "auto", seed)

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Take the anchors from early and middle layers, and set the shift of the rows in deep ones.

        Returns:
            float32 `[prompts, 2 * heads]`: the attention to the image, and the length of the shift.
        """
        at.ordinary()
        assert at.rows is not None
        numbers, shifts = [], []
        for part, columns in zip(prompts.parts, columns_on_device(prompts, at.query.device), strict=True):
            attention = image_attention(at, part, columns)
            mass = attention.sum(-1, keepdim=True)
            shift = self._shift(at, part, columns, attention, mass)
            numbers.append(torch.stack((mass[:, 0], shift.norm(dim=-1))))
            shifts.append(shift)
        at.rows.put("shift", at.layer, last_rows(prompts, at.query.device)[1], torch.stack(shifts))
        return at.shards.gather_heads(torch.cat(numbers)).view(len(shifts), -1)

    def _shift(self, at: LayerStep, part: Part[Prompt], columns: Tensor, attention: Tensor, mass: Tensor) -> Tensor:
        """Return what is added to a request's rows, `[local heads, head_dim]`, nothing where anchors are only taken."""
        state, settings = part.state, part.state.settings
        which, nothing = settings.part_of(at.layer), torch.zeros_like(at.query[part.last_row], dtype=torch.float32)
        sensitive = local_heads(upper_half(at.shards.gather_heads(mass.T)), at).T
        if which != "deep":
            counts = sensitive if which == "middle" else ~sensitive
            seen = (attention / mass.clamp_min(1e-30)).masked_fill(~counts, 0).sum(0)
            state.carry[which] = state.carry.get(which, 0) + at.shards.add_up(seen)
            return nothing
        num_heads = at.query.shape[1] * at.shards.num_ranks
        positive = state.carry["middle"] / (len(settings.middle) * (num_heads // 2))
        negative = state.carry["early"] / (len(settings.early) * (num_heads - num_heads // 2))
        wanted = (attention + mass * (settings.alpha * positive - settings.beta * negative)).clamp_min(0)
        wanted = wanted * mass / wanted.sum(-1, keepdim=True).clamp_min(1e-30)
        value = at.value[part.rows].index_select(0, columns).float()
        change = (wanted - attention).unflatten(0, (value.shape[1], -1))
        shift = torch.einsum("gqn,ngd->gqd", change, value).flatten(0, 1)
        if settings.direction == "random":
            shift = draw_directions(at, state, shift.shape[1]) * shift.norm(dim=-1, keepdim=True)
        return torch.where(sensitive, shift, nothing)

    def explain(
        self, settings: CLVASettings, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        """Return the report on one layer: of every head the attention to the image, in deep layers also its shift."""
        num_heads, part = len(numbers) // 2, settings.part_of(layer)
        report: dict[str, Any] = {"layer": layer, "part": part, "mass": list(numbers[:num_heads])}
        return report | ({"norm": list(numbers[num_heads:])} if part == "deep" else {}), None

    def describe(self, defaults: Any, shape: ModelShape) -> Mapping[str, Any]:
        """Return defaults, limits, and that this is not the published method."""
        start = default_layers(shape.num_layers) | {"alpha": ALPHA, "beta": BETA, "direction": "auto", "report": False}
        limits = {part: [0, shape.num_layers - 1] for part in PARTS} | {"alpha": [0, 100], "beta": [0, 100]}
        said = defaults.model_dump(exclude_none=True)
        return {"inspired": True, "defaults": start | said, "limits": limits | {"seed": [0, MAX_SEED]}}
