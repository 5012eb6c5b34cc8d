"""Where the prompts of a step lie in its batch, as the kernels of `launch` read it."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Prompt rows of one program."""
COLUMNS_PER_BLOCK = 64
"""Image tokens of one program of the column sums."""
_ALIGNMENT = 16
"""Every table starts at a multiple of so many bytes: Triton compiles a kernel anew for pointers aligned otherwise."""


@dataclass(frozen=True, slots=True)
class PromptTables:
    """Where the prompts of one step lie; int32 on the device, the same for every layer of the step."""

    row_start: Tensor
    """`[prompts]`, first row of each in the batch."""
    length: Tensor
    """`[prompts]`, in tokens."""
    row_blocks: Tensor
    """`[blocks, 2]`: prompt, first row within it; one program (per head) each."""
    columns: Tensor
    """`[total columns]`, prompt positions of image tokens: prompt after prompt, ascending within each."""
    column_prompt: Tensor
    """int64 `[total columns]`, the prompt that each belongs to."""
    column_blocks: Tensor
    """`[blocks, 3]`: prompt, first index into `columns`, one past the last; one program per head each."""


def prompt_tables(
    row_starts: Sequence[int], lengths: Sequence[int], columns: Sequence[Sequence[int]], device: torch.device | str
) -> PromptTables:
    """Describe the prompts of one step in one copy to the device, without waiting for it.

    Args:
        row_starts: first row of each prompt in the batch.
        lengths: prompt tokens, at least 1.
        columns: prompt positions of each prompt's image tokens, ascending.
        device: of the batch.
    """
    row_blocks, column_blocks, flat_columns, column_prompt = array("i"), array("i"), array("i"), array("q")
    for prompt, (length, positions) in enumerate(zip(lengths, columns, strict=True)):
        # The last rows see most columns: the longest programs start first.
        for first in reversed(range(0, length, ROWS_PER_BLOCK)):
            row_blocks.extend((prompt, first))
        begin = len(flat_columns)
        flat_columns.extend(positions)
        column_prompt.extend(array("q", [prompt]) * len(positions))
        for first in range(begin, len(flat_columns), COLUMNS_PER_BLOCK):
            column_blocks.extend((prompt, first, min(first + COLUMNS_PER_BLOCK, len(flat_columns))))
    tables = (array("i", row_starts), array("i", lengths), row_blocks, flat_columns, column_prompt, column_blocks)
    packed, bounds = bytearray(), []
    for table in tables:
        bounds.append((len(packed) // 4, (len(packed) + len(table) * table.itemsize) // 4))
        packed += table.tobytes()
        packed += bytes(-len(packed) % _ALIGNMENT)
    host = torch.frombuffer(packed, dtype=torch.int32)
    # Torch's allocator keeps pinned memory from being used again until the copy is done.
    on_device = (
        host.to(device) if torch.device(device).type == "cpu" else host.pin_memory().to(device, non_blocking=True)
    )
    start, size, rows, at, prompt_of, blocks = (on_device[first:stop] for first, stop in bounds)
    return PromptTables(start, size, rows.view(-1, 2), at, prompt_of.view(torch.int64), blocks.view(-1, 3))
