"""What methods that act on generated rows read at a prompt's last row, the one that predicts the first token."""

from array import array

import torch
from torch import Tensor

from eah_vllm.kernels.packed import on_device
from eah_vllm.method.base import LayerStep, Part, Parts, Prompt
from eah_vllm.method.spans import image_columns


def last_rows(prompts: Parts[Prompt], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the places of the prompts' last rows in the batch, and the requests' slots: int64 `[prompts]` each."""
    found: tuple[Tensor, Tensor] | None = prompts.memo.get("last rows")
    if found is None:  # once per step, for all layers
        rows = array("q", (part.last_row for part in prompts.parts))
        slots = array("q", (part.state.slot or 0 for part in prompts.parts))
        rows_there, slots_there = on_device([rows, slots], device)
        found = prompts.memo["last rows"] = rows_there, slots_there
    return found


def columns_on_device(prompts: Parts[Prompt], device: torch.device) -> list[Tensor]:
    """Return the positions of each prompt's image tokens within the prompt, int64."""
    found: list[Tensor] | None = prompts.memo.get("image columns")
    if found is None:  # once per step, for all layers
        tables = [array("q", image_columns(state.spans)) for state in prompts.states]
        found = prompts.memo["image columns"] = on_device(tables, device)
    return found


def image_attention(at: LayerStep, part: Part[Prompt], columns: Tensor) -> Tensor:
    """Return what the last row of a whole prompt attends to its image tokens in one layer.

    Args:
        at: layer and step.
        part: a prompt all of whose rows are in this step.
        columns: see `columns_on_device`.

    Returns:
        Post-softmax weights, float32 `[local heads, image tokens]`.
    """
    assert part.num_cached == 0, "the keys of the first rows are not in this step"
    query, key = at.query[part.last_row].float(), at.key[part.rows].float()
    groups = query.unflatten(0, (key.shape[1], -1))
    scores = torch.einsum("gqd,sgd->gqs", groups, key).flatten(0, 1) * at.scale
    return scores.softmax(-1).index_select(1, columns)


def image_mass(at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
    """Return the last rows' attention to all image tokens together, float32 `[prompts, local heads]`.

    It is NaN where nobody has asked for a report, and where the prompt is not whole in this step.
    """
    mass = torch.full((len(prompts.parts), at.query.shape[1]), torch.nan, device=at.query.device)
    for idx, (part, columns) in enumerate(zip(prompts.parts, columns_on_device(prompts, mass.device), strict=True)):
        if part.state.is_reported and part.num_cached == 0:
            mass[idx] = image_attention(at, part, columns).sum(-1)
    return mass


def local_heads(of_all: Tensor, at: LayerStep) -> Tensor:
    """Return this rank's part of `[..., heads]`."""
    num_heads = at.query.shape[1]
    return of_all.narrow(-1, at.shards.rank * num_heads, num_heads)


def upper_half(mass: Tensor) -> Tensor:
    """Return which heads of `[prompts, heads]` are among the half with the most attention to the image.

    It is bool, of the same shape; of heads with equal attention those of lower index come first.
    """
    order = mass.argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(mass, dtype=torch.bool).scatter_(-1, order[:, : mass.shape[1] // 2], True)
