"""Random draws of the controls: the same on every rank, and again when a prompt is computed again."""

import hashlib
import json
import random
from array import array
from collections.abc import Sequence

from torch import Tensor

from eah_vllm.kernels.packed import on_device
from eah_vllm.method.base import LayerStep, Parts, Prompt


def random_number(seed: int, layer: int, pictures: Sequence[str]) -> int:
    """Return the number that decides a random draw in one layer of one request.

    Every rank, a prompt that is computed again and another request about the same pictures get the same number. The
    question has no part in it, so that a head recorded with a cached image prefix is the one that the next question
    would draw.

    Args:
        seed: the request's option `seed`, which names one of several independent draws.
        layer: decoder layer, 0-based.
        pictures: identities of the prompt's pictures, in prompt order. The prompt's token ids are the same for every
            picture, so they cannot stand in their place.
    """
    return int.from_bytes(hashlib.sha256(json.dumps([seed, layer, *pictures]).encode()).digest())


def draw_heads(at: LayerStep, prompts: Parts[Prompt], who: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """Draw half of a layer's heads for some prompts, by the option `seed` of their settings.

    Args:
        at: layer and step.
        prompts: all prompts of the step.
        who: which of them draw.

    Returns:
        On the device: the drawn heads, bool `[prompts, heads]`, none for the others; and `who`, bool `[prompts, 1]`.
    """
    num_heads, table = at.query.shape[1] * at.shards.num_ranks, array("i")
    for state, draws in zip(prompts.states, who, strict=True):
        draw = random.Random(random_number(state.settings.seed, at.layer, state.pictures))
        drawn = set(draw.sample(range(num_heads), num_heads // 2)) if draws else set()
        table.extend(head in drawn for head in range(num_heads))
    drawn_there, who_there = on_device([table, array("i", who)], at.query.device)
    return drawn_there.view(-1, num_heads).bool(), who_there[:, None].bool()


def draw_directions(at: LayerStep, state: Prompt, head_dim: int) -> Tensor:
    """Draw a vector of length 1 for each of this rank's heads, float32 `[local heads, head_dim]`.

    Its coordinates are those of a normal distribution, so that every direction is equally probable.
    """
    num_heads = at.query.shape[1]
    draw = random.Random(random_number(state.settings.seed, at.layer, state.pictures))
    numbers = array("f", (draw.gauss() for _ in range(num_heads * at.shards.num_ranks * head_dim)))
    (drawn,) = on_device([numbers], at.query.device)
    mine = drawn.view(-1, head_dim).narrow(0, at.shards.rank * num_heads, num_heads)
    length = mine.norm(dim=-1, keepdim=True)
    return mine.div(length)
