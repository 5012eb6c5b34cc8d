"""VHR, vision-aware head reinforcement (arXiv 2412.13949, section 4), on the numbers of one layer, one head at a time.

It shares nothing with `eah_vllm`. `rows_reference.py` runs it inside a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import mean, median, stdev
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Reinforced:
    """What VHR saw and did in one layer."""

    layer: int
    heads: tuple[int, ...]
    """Heads whose output is multiplied by `factor`."""
    factor: float
    divergence: tuple[float, ...]
    """Distance of each head's output from its output without the image, before outliers are set to 0."""
    score: tuple[float, ...]
    """The same with outliers at 0."""
    mass: tuple[float, ...]
    """Attention of the row that predicts the first token on all image tokens, per head."""


@dataclass(slots=True)
class VHR:
    """The method for one request; `image_free[layer]` is `[heads, dim]` of the prompt's last row without the image."""

    factor: float
    layers: tuple[int, ...]
    image_free: Mapping[int, torch.Tensor]
    image_free_tokens: int
    given: Mapping[int, tuple[int, ...]] | None = None
    """Heads that are reinforced in place of those of the rule, by layer."""
    report: list[Reinforced] = field(default_factory=list)

    def at_last_row(
        self, layer: int, attention: torch.Tensor, output: torch.Tensor, value: torch.Tensor, columns: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose this layer's heads at the row that predicts the first token; what the layer does from that row on.

        Args:
            layer: Decoder layer, 0-based.
            attention: The row's attention, `[heads, keys]`.
            output: The row's output before the output projection, `[heads, dim]`.
            value: Not read here.
            columns: The image tokens.

        Returns:
            A factor per head, `[heads, 1]`, and a vector per head, `[heads, dim]`.
        """
        outcome = reinforced(layer, self.factor, output, self.image_free[layer], attention[:, columns].sum(dim=1))
        if self.given is not None:
            outcome = replace(outcome, heads=self.given[layer])
        self.report.append(outcome)
        factors = torch.ones(len(output), 1)
        for head in outcome.heads:
            factors[head] = self.factor
        return factors, torch.zeros_like(output)


def reinforced(
    layer: int, factor: float, with_image: torch.Tensor, without: torch.Tensor, mass: torch.Tensor
) -> Reinforced:
    """The heads that VHR reinforces, from one row's outputs `[heads, dim]` with and without the image.

    A head's divergence is large for another reason than the image where its output without the image is large too;
    such outliers are left out. Of the others the half with the larger divergence is reinforced.
    """
    num_heads = len(with_image)
    divergence = [float(torch.linalg.vector_norm(with_image[head] - without[head])) for head in range(num_heads)]
    energy = [float((without[head] ** 2).sum()) for head in range(num_heads)]
    far, loud = mean(divergence) + stdev(divergence), mean(energy) + stdev(energy)
    score = list(divergence)
    for head in range(num_heads):
        if divergence[head] > far and energy[head] > loud:
            score[head] = 0.0
    middle = median(score)  # of an even number: the mean of the two in the middle
    heads = tuple(head for head in range(num_heads) if score[head] > middle)
    return Reinforced(layer, heads, factor, tuple(divergence), tuple(score), tuple(mass.tolist()))


def default_layers(num_layers: int) -> tuple[int, ...]:
    """The second layer and the last 14 of 32, in the same proportion, of a model with `num_layers` layers."""
    last = max(1, round(14 * num_layers / 32))
    return tuple(layer for layer in range(num_layers) if layer == 1 or layer >= num_layers - last)


def vhr_of(
    said: Mapping[str, Any], num_layers: int, image_free: Mapping[int, torch.Tensor], image_free_tokens: int
) -> VHR:
    """The method with what a request said: `factor`, `layers`, and as `heads` those to reinforce, by layer."""
    layers = tuple(said.get("layers", default_layers(num_layers)))
    return VHR(said.get("factor", 2.0), layers, image_free, image_free_tokens, said.get("heads"))
