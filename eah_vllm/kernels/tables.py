"""Tables of where the prompts of a step lie in its batch, in the form that the kernels of `launch` read."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Prompt rows that one program works on."""
COLUMNS_PER_BLOCK = 64
"""Image tokens that one program of the column sums works on."""
_ALIGNMENT = 16
"""Bytes at whose multiples every table starts: Triton compiles a kernel anew for pointers aligned otherwise."""


@dataclass(frozen=True, slots=True)
class PromptTables:
    """Tables of where the prompts of one step lie: int32 on the device, the same for every layer of the step."""

    row_start: Tensor
    """`[prompts]`, the first row of each prompt in the batch."""
    length: Tensor
    """`[prompts]`, the length of each prompt in tokens."""
    row_blocks: Tensor
    """`[blocks, 2]`: the prompt, and the first row of the block within it; each block has one program per head."""
    columns: Tensor
    """`[total columns]`, the prompt positions of image tokens: prompt after prompt, ascending within each."""
    column_prompt: Tensor
    """int64 `[total columns]`, the prompt that each column belongs to."""
    column_blocks: Tensor
    """`[blocks, 3]`: prompt, first index into `columns`, one past the last; each block has one program per head."""


def prompt_tables(
    row_starts: Sequence[int], lengths: Sequence[int], columns: Sequence[Sequence[int]], device: torch.device | str
) -> PromptTables:
    """Describe the prompts of one step in one copy to the device, without waiting for it.

    Args:
        row_starts: first row of each prompt in the batch.
        lengths: tokens of each prompt, at least 1.
        columns: prompt positions of each prompt's image tokens, ascending.
        device: device of the batch.
    """
    row_blocks, column_blocks, flat_columns, column_prompt = array("i"), array("i"), array("i"), array("q")
    for prompt, (length, positions) in enumerate(zip(lengths, columns, strict=True)):
        # The last rows see most columns and take longest, so their programs start first.
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
    # Torch's allocator does not reuse the pinned memory before the copy is done.
    on_device = (
        host.to(device) if torch.device(device).type == "cpu" else host.pin_memory().to(device, non_blocking=True)
    )
    start, size, rows, at, prompt_of, blocks = (on_device[first:stop] for first, stop in bounds)
    return PromptTables(start, size, rows.view(-1, 2), at, prompt_of.view(torch.int64), blocks.view(-1, 3))
