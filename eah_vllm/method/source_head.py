"""The choice of the source head, whose attention map the whole layer will use (EAH, arXiv 2411.09968)."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ANY = -1
"""In the place of a head: the sink counts decide."""


class Choice(NamedTuple):
    """How one prompt's head is chosen from sink counts, as numbers that serve every rule."""

    sign: int
    """1: the head with most sinks is the source; -1: the one with fewest. The lowest index wins on ties."""
    fixed: int
    """The source head, whatever the counts are, or `ANY`."""
    at_least: int
    """The source is used if some head has so many sinks."""
    lowest: int
    """The source is used if its index is not below this one."""


def choice_of(
    rule: str | int,
    image_tokens: int,
    num_heads: int,
    *,
    min_density: float = 0.0,
    head_zero_wins: bool = True,
    random_seed: int = 0,
) -> Choice:
    """Return how a prompt's source head is chosen.

    Args:
        rule: "auto" (most sinks, lowest index on ties), "sparsest" (fewest), "random", or a fixed head. A fixed head is
            always used, the others if any head has a sink.
        image_tokens: image tokens of the prompt.
        num_heads: query heads of the layer, on all ranks.
        min_density: gamma, the least share of image tokens that are sinks of the source head; for "auto".
        head_zero_wins: False repeats the released code's `if k > 0`, which never broadcasts head 0; for "auto".
        random_seed: decides "random": the head is this number modulo the number of heads; the same on every rank.
    """
    if isinstance(rule, int):
        return Choice(1, rule, 0, 0)
    if rule == "random":
        return Choice(1, random_seed % num_heads, 1, 0)
    if rule == "sparsest":
        return Choice(-1, ANY, 1, 0)
    # In float32, or a density of k / n would ask for k + 1 sinks: k / n * n is not always k in floating point.
    needed = math.ceil(array("f", [min_density * image_tokens])[0])
    return Choice(1, ANY, max(1, needed), 0 if head_zero_wins else 1)


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of a step's prompts, int64 on the device."""

    sign: Tensor
    """`[prompts]`, times the number of heads, so that one sink outweighs every tie."""
    fixed: Tensor
    """`[prompts]`."""
    at_least: Tensor
    """`[prompts]`."""
    lowest: Tensor
    """`[prompts]`."""
    ties: Tensor
    """`[heads]`: what is added to a head's count, more for a lower head."""

    @staticmethod
    def arrays(choices: Sequence[Choice], num_heads: int) -> list["array[int]"]:
        """Return what `on_device` is to bring to the device, in the order of the fields."""
        sign, *rest = ([choice[idx] for choice in choices] for idx in range(len(Choice._fields)))
        return [
            array("q", numbers) for numbers in ([one * num_heads for one in sign], *rest, reversed(range(num_heads)))
        ]


def choose_source_heads(sinks: Tensor, choices: Choices) -> Tensor:
    """Choose each prompt's source head; nothing here waits for the device, and nothing is done prompt by prompt.

    Args:
        sinks: int64 `[prompts, heads]`, vision sinks of every head of the layer.
        choices: how to choose.

    Returns:
        int64 `[prompts, 4]`, on the device of `sinks`: the source head, its sinks, most sinks of any head, and whether
        to broadcast its map.
    """
    # argmax does not promise to return the first of equals, so there are none.
    found = torch.addcmul(choices.ties, sinks, choices.sign[:, None]).argmax(dim=1)
    source = torch.where(choices.fixed == ANY, found, choices.fixed)
    most = sinks.amax(dim=1)
    # The source of "auto" is the head with most sinks, so that `most` is compared is right for its density too.
    broadcast = (most >= choices.at_least) & (source >= choices.lowest)
    return torch.stack((source, sinks.gather(1, source[:, None])[:, 0], most, broadcast.long()), dim=1)
