"""Brings tables that the host has made to the device, without waiting for it."""

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 16
"""Bytes at whose multiples every table starts: Triton compiles a kernel anew for pointers aligned otherwise."""
_DTYPES = {"i": torch.int32, "q": torch.int64, "f": torch.float32}


def on_device(tables: Sequence["array[Any]"], device: torch.device | str) -> list[Tensor]:
    """Bring tables to the device in one copy, without waiting for it.

    Args:
        tables: arrays of type "i" (int32), "q" (int64) or "f" (float32).
        device: device of the step's batch.

    Returns:
        One-dimensional tensors on the device, in the order of `tables`.
    """
    packed, bounds = bytearray(), []
    for table in tables:
        bounds.append((len(packed), len(packed) + len(table) * table.itemsize))
        packed += table.tobytes()
        packed += bytes(-len(packed) % _ALIGNMENT)
    if not packed:  # torch makes no tensor of an empty buffer
        return [torch.empty(0, dtype=_DTYPES[table.typecode], device=device) for table in tables]
    host = torch.frombuffer(packed, dtype=torch.uint8)
    # A copy from memory that is not pinned waits for the stream. Torch reuses pinned memory only once it was copied.
    there = host.to(device) if torch.device(device).type == "cpu" else host.pin_memory().to(device, non_blocking=True)
    pieces = zip(tables, bounds, strict=True)
    return [there[first:stop].view(_DTYPES[table.typecode]) for table, (first, stop) in pieces]
