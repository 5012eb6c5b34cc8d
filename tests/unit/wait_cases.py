"""Ways to wait for a tensor on the GPU, which the pretended GPU must all refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.unit.pretend_gpu import GPU, OnGPU, WaitsForTheGPU

WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.any()),
    "int": lambda x: int(x[0, 0]),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "index without dimensions": lambda x: x[x[0, 0]],
    "slice": lambda x: x[: x[0, 0]],
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "mask written": lambda x: x.index_put_((x > 0,), x[0, 0]),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "repeat_interleave": lambda x: x[0].repeat_interleave(x[0]),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu", non_blocking=True),
    "copy": lambda x: torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x),
    "copy to what is not pinned": lambda x: torch.empty(x.shape, dtype=x.dtype).copy_(x, non_blocking=True),
    "list": lambda _: torch.tensor([1, 2], device=GPU),
    "index list": lambda x: x[[0, 1]],
    "host to GPU": lambda _: torch.zeros(2).to(GPU),
    "host to GPU, not pinned": lambda _: torch.zeros(2).to(GPU, non_blocking=True),
}


def seen() -> dict[str, bool]:
    """Of each wait, whether it was refused."""
    found = {}
    for name, wait in WAITS.items():
        try:
            wait(OnGPU(torch.ones(3, 2, dtype=torch.int64)))
            found[name] = False
        except (WaitsForTheGPU, RuntimeError):
            found[name] = True
    return found
