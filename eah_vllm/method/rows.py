"""Values of single requests that are applied to the attention output of their last prompt rows and generated rows.

They lie in buffers that never move, and a fixed program applies them to all rows of a step, so it may be part of a CUDA
graph: before each step only the buffers' contents change. Rows of other requests are multiplied by 1, and get 0 added.
"""

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from eah_vllm.kernels.packed import on_device

RowValue = Literal["factor", "shift"]
"""A factor for each head's output, or a vector that is added to it."""
NOBODY = 0
"""The slot of rows that nothing is done to."""


@dataclass(frozen=True, slots=True)
class LayerSize:
    """What this rank holds of a decoder layer."""

    num_heads: int
    head_dim: int


class RowBuffers(nn.Module):
    """The values of every request that has a slot, for each decoder layer of this worker.

    They are buffers of a module of the model, so that an engine that sleeps keeps them.

    Args:
        layers: the layers that methods can act in.
        num_slots: how many requests can have a slot at once; slots are numbered from 1.
        max_rows: most rows of a step.
        values: what the methods of this server use.
        image_free: whether one of them compares with an image-free pass.
    """

    def __init__(
        self,
        layers: Mapping[int, LayerSize],
        num_slots: int,
        max_rows: int,
        values: Collection[RowValue],
        *,
        image_free: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._slot_of_row = self._made("slot_of_row", torch.zeros(max_rows, dtype=torch.int64, device=device))
        """int64 `[max_rows]`: the slot of each row of the step."""
        self._factor: dict[int, Tensor] = {}
        """By layer, float32 `[slots + 1, local heads]`."""
        self._shift: dict[int, Tensor] = {}
        """By layer, `[slots + 1, local heads, head_dim]`, as are these:"""
        self._image_free: dict[int, Tensor] = {}
        for layer, size in layers.items():
            outputs = num_slots + 1, size.num_heads, size.head_dim
            if "factor" in values:
                self._factor[layer] = self._made(f"factor_{layer}", torch.ones(outputs[:2], device=device))
            if "shift" in values:
                zeros = torch.zeros(outputs, dtype=dtype, device=device)
                self._shift[layer] = self._made(f"shift_{layer}", zeros)
            if image_free:
                zeros = torch.zeros(outputs, dtype=dtype, device=device)
                self._image_free[layer] = self._made(f"image_free_{layer}", zeros)
        self._is_clear = True

    def _made(self, name: str, tensor: Tensor) -> Tensor:
        self.register_buffer(name, tensor, persistent=False)
        return tensor

    def begin_step(self, slot_of_row: Sequence[int], new: Iterable[int]) -> None:
        """Say of which slots the rows of the coming step are; nobody's where there are none.

        Args:
            slot_of_row: the slot of each row that the step has, or nothing.
            new: slots whose values are those of an earlier request still.
        """
        if not slot_of_row and self._is_clear:
            return
        device = self._slot_of_row.device
        found, fresh = on_device([array("q", slot_of_row), array("q", new)], device)
        self._slot_of_row.zero_()
        self._slot_of_row[: len(found)].copy_(found)
        self._is_clear = not slot_of_row
        if len(fresh):
            for factor in self._factor.values():
                factor.index_fill_(0, fresh, 1)
            for shift in self._shift.values():
                shift.index_fill_(0, fresh, 0)

    def put(self, value: RowValue, layer: int, slots: Tensor, of_requests: Tensor) -> None:
        """Set what is to be done to the rows of some requests in a layer, from this step on.

        Args:
            value: what `of_requests` is.
            layer: decoder layer, 0-based.
            slots: the requests' slots, int64 `[requests]`.
            of_requests: factors `[requests, local heads]`, or vectors `[requests, local heads, head_dim]`.
        """
        buffer = (self._factor if value == "factor" else self._shift)[layer]
        buffer.index_copy_(0, slots, of_requests.to(buffer.dtype))

    def keep_image_free(self, layer: int, slots: Tensor, of_requests: Tensor) -> None:
        """Keep the attention outputs `[requests, local heads, head_dim]` of the last rows of image-free passes."""
        self._image_free[layer].index_copy_(0, slots, of_requests)

    def image_free(self, layer: int, slots: Tensor) -> Tensor:
        """Return what was kept of the image-free passes of some requests, `[requests, local heads, head_dim]`."""
        return self._image_free[layer].index_select(0, slots)

    def act_on(self, layer: int, output: Tensor) -> None:
        """Do to the attention output of a step `[rows, local heads, head_dim]` what the requests' values say."""
        slots = self._slot_of_row[: len(output)]
        if layer in self._factor:
            output.mul_(self._factor[layer].index_select(0, slots)[:, :, None])
        if layer in self._shift:
            output.add_(self._shift[layer].index_select(0, slots))
