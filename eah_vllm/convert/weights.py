"""The converted weights, under the names of public LLaVA checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import CLIPVisionModel

from eah_vllm.convert.error import ConvertError
from eah_vllm.convert.source import TOWER, Source, tower_weights
from eah_vllm.convert.tensors import Tensors

NORM, EMBEDDINGS = "model.norm.weight", ("model.embed_tokens.weight", "lm_head.weight")
PATCHES = "vision_tower.vision_model.embeddings.patch_embedding.weight"
POSITIONS = "vision_tower.vision_model.embeddings.position_embedding.weight"
SMALLEST_NORM = 0.1
"""The last norm of a trained model has weights of about 1 or more, and that of a delta is a difference near 0."""


def check_base(source: Tensors, base: Tensors | None) -> None:
    """Compare a delta with the language model that it is a difference to.

    Raises:
        ConvertError: a delta has no base, whole weights have one, or the base is of another shape.
    """
    is_delta = float(source.read(NORM).float().abs().mean()) < SMALLEST_NORM
    if base is None:
        if is_delta:
            raise ConvertError(f"{source.folder} holds the difference to a LLaMA: name that LLaMA with --base")
        return
    if not is_delta:
        raise ConvertError(
            f"{source.folder} holds whole weights, not a difference, so --base would spoil them: leave it off"
        )
    found = set(base)
    for name in _of_language_model(source):
        if name not in found:
            raise ConvertError(f"tensor {name!r} is missing in {base.folder}")
        shape, wanted = base.shape(name), source.shape(name)
        grown = name in EMBEDDINGS and shape[0] <= wanted[0] and shape[1:] == wanted[1:]
        if shape != wanted and not grown:
            raise ConvertError(f"tensor {name!r} of {base.folder} must have shape {wanted}, not {shape}")


def read_language_model(source: Tensors, base: Tensors | None, new_tokens: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the language model's weights, with the base added where there is one.

    Args:
        source: the checkpoint.
        base: the language model that the checkpoint is a difference to; a vocabulary may have grown at its end.
        new_tokens: tokens that the vocabulary is longer by. Their embeddings are the mean of all others, so that such
            a token's logit is the mean logit, and the model never prefers it to all others.
    """
    for name in _of_language_model(source):
        weight = source.read(name)
        if base is not None:
            weight, added = weight.clone(), base.read(name).to(weight.dtype)
            weight[: len(added)] += added
        if name in EMBEDDINGS and new_tokens:
            mean = weight.float().mean(0, keepdim=True).to(weight.dtype)
            weight = torch.cat([weight, mean.expand(new_tokens, -1)])
        yield f"language_model.{name}", weight


def _of_language_model(source: Tensors) -> Iterator[str]:
    return (name for name in source if not name.startswith(("model.mm_projector.", TOWER)))


def read_projector(source: Source, tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield the projector as LLaVA-1.5 has it: two linear layers with an activation between them.

    A single linear layer W x + b is written exactly with relu: x = relu(x) - relu(-x), so the first layer makes x and
    -x of x, and the second applies W to the one and -W to the other.

    Raises:
        ConvertError: the language model is too narrow for that.
    """
    first, second = "multi_modal_projector.linear_1.", "multi_modal_projector.linear_2."
    if source.projector != "linear":
        for old, new in (("0.", first), ("2.", second)):
            for kind in ("weight", "bias"):
                yield new + kind, tensors.read(f"model.mm_projector.{old}{kind}")
        return
    weight, bias = tensors.read("model.mm_projector.weight"), tensors.read("model.mm_projector.bias")
    hidden, seen = weight.shape
    if 2 * seen > hidden:
        raise ConvertError(
            f"a linear projector is converted where hidden_size is twice mm_hidden_size: {hidden}, {seen}"
        )
    identity, rest = torch.eye(seen, dtype=weight.dtype), hidden - 2 * seen
    yield first + "weight", torch.cat([identity, -identity, weight.new_zeros(rest, seen)])
    yield first + "bias", torch.zeros_like(bias)
    yield second + "weight", torch.cat([weight, -weight, weight.new_zeros(hidden, rest)], dim=1)
    yield second + "bias", bias


def read_tower_weights(tower: CLIPVisionModel, tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield the vision tower's weights; the checkpoint's own, where it holds them."""
    own = set(tensors)
    for name, weight in tower_weights(tower).items():
        yield f"vision_tower.vision_model.{name}", tensors.read(TOWER + name) if TOWER + name in own else weight


def see_white_as_zero(weights: dict[str, Tensor], mean: list[float], std: list[float]) -> None:
    """Change a tower so that it takes (x - 1)/std where it took (x - mean)/std, for pixels x in [0, 1].

    Image processors fill what a picture lacks to a square with their mean, and Shikra was trained with white, which is
    1. The difference is the same for all pixels, so the patch convolution makes a constant of it, which is added to the
    position embeddings of the patches. Those of the class token, the first, see no pixels.
    """
    shift = torch.tensor([(1 - one) / spread for one, spread in zip(mean, std, strict=True)])
    constant = torch.einsum("ochw,c->o", weights[PATCHES].float(), shift)
    moved = weights[POSITIONS].float().clone()
    moved[1:] += constant
    weights[POSITIONS] = moved.to(weights[POSITIONS].dtype)
