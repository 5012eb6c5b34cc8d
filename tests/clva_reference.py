"""The CLVA-inspired method in its static form, from its definition, one head and one column at a time.

The abstract of arXiv 2603.25088 names the ideas (visual anchors of middle layers strengthened, attention of initial
layers suppressed, in deep layers); the paper's formulas are public nowhere. It shares nothing with `eah_vllm`.
`rows_reference.py` runs it inside a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the method saw and did in one layer."""

    layer: int
    part: str
    """`early`, `middle` or `deep`."""
    mass: tuple[float, ...]
    """Attention of the row that predicts the first token on all image tokens, per head."""
    norm: tuple[float, ...] | None = None
    """Length of each head's vector, in deep layers."""
    shift: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """The vectors, `[heads, dim]`."""
    redirected: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """Attention on the image as the vectors make it, `[heads, image tokens]`; other heads keep their own."""


@dataclass(slots=True)
class CLVA:
    """The method for one request."""

    alpha: float
    beta: float
    early: tuple[int, ...]
    middle: tuple[int, ...]
    deep: tuple[int, ...]
    report: list[Anchored] = field(default_factory=list)
    kept: dict[str, list[torch.Tensor]] = field(default_factory=lambda: {"early": [], "middle": []})
    """Attention over the image tokens, with sum 1, of the heads that give the anchors."""

    @property
    def layers(self) -> tuple[int, ...]:
        return self.early + self.middle + self.deep

    def at_last_row(
        self, layer: int, attention: torch.Tensor, output: torch.Tensor, value: torch.Tensor, columns: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the row that predicts the first token, or turn its attention; what the layer does from that row on.

        Args:
            layer: Decoder layer, 0-based.
            attention: The row's attention, `[heads, keys]`.
            output: Read for its shape only, `[heads, dim]`.
            value: `[heads, keys, dim]`.
            columns: The image tokens.

        Returns:
            A factor per head, `[heads, 1]`, and a vector per head, `[heads, dim]`.
        """
        on_image = attention[:, columns]
        mass = [float(row.sum()) for row in on_image]
        sensitive = sensitive_heads(mass)
        shift = torch.zeros_like(output)
        if layer in self.early:
            self.kept["early"] += [on_image[head] / mass[head] for head in range(len(mass)) if head not in sensitive]
            outcome = Anchored(layer, "early", tuple(mass))
        elif layer in self.middle:
            self.kept["middle"] += [on_image[head] / mass[head] for head in sensitive]
            outcome = Anchored(layer, "middle", tuple(mass))
        else:
            positive, negative = (torch.stack(self.kept[part]).mean(dim=0) for part in ("middle", "early"))
            redirected = on_image.clone()
            for head in sensitive:
                redirected[head] = turned(on_image[head], positive, negative, self.alpha, self.beta)
                shift[head] = (redirected[head] - on_image[head]) @ value[head, columns]
            norm = tuple(float(torch.linalg.vector_norm(row)) for row in shift)
            outcome = Anchored(layer, "deep", tuple(mass), norm, shift, redirected)
        self.report.append(outcome)
        return torch.ones(len(output), 1), shift


def sensitive_heads(mass: list[float]) -> list[int]:
    """The half of the heads with the most attention on the image, the lower head first among equals."""
    by_mass = sorted(range(len(mass)), key=lambda head: (-mass[head], head))
    return sorted(by_mass[: len(mass) // 2])


def turned(
    attention: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, alpha: float, beta: float
) -> torch.Tensor:
    """Attention over the image tokens drawn towards one anchor and away from the other; its sum stays as it was.

    Args:
        attention: `[image tokens]`, a part of a softmax row.
        positive: Anchor of the middle layers, `[image tokens]` with sum 1.
        negative: Anchor of the early layers, `[image tokens]` with sum 1.
        alpha: Strength of the first, unitless.
        beta: Strength of the second, unitless.
    """
    mass = float(attention.sum())
    drawn = []
    for column in range(len(attention)):
        drawn.append(max(0.0, float(attention[column] + mass * (alpha * positive[column] - beta * negative[column]))))
    return torch.tensor([value * mass / sum(drawn) for value in drawn])


def default_parts(num_layers: int) -> dict[str, tuple[int, ...]]:
    """Early, middle and deep layers of a model with `num_layers` layers."""
    early, middle, deep = max(1, round(0.1 * num_layers)), round(0.3 * num_layers), round(0.62 * num_layers)
    ranges = {"early": range(early), "middle": range(middle, deep), "deep": range(deep, num_layers)}
    return {part: tuple(layers) for part, layers in ranges.items()}


def clva_of(said: Mapping[str, Any], num_layers: int) -> CLVA:
    """The method with what a request said: `alpha`, `beta`, `early`, `middle`, `deep`."""
    parts = {part: tuple(said.get(part, layers)) for part, layers in default_parts(num_layers).items()}
    return CLVA(said.get("alpha", 0.2), said.get("beta", 0.1), **parts)
