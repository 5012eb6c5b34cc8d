"""Tables of where the prompts of a step lie in its batch, in the form that the kernels of `launch` read."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eah_vllm.kernels.packed import on_device

ROWS_PER_BLOCK = 64
"""Prompt rows that one program works on."""
COLUMNS_PER_BLOCK = 64
"""Image tokens that one program of the column sums works on."""


@dataclass(frozen=True, slots=True)
class PromptTables:
    """Tables of where the prompts of one step lie: int32 on the device, the same for every layer of the step."""

    row_start: Tensor
    """`[prompts]`, the row of each prompt's first token in the batch of queries and outputs."""
    key_start: Tensor
    """`[prompts]`, the row of each prompt's first token among keys and values: the same, unless these were gathered."""
    length: Tensor
    """`[prompts]`, the length of each prompt in tokens."""
    row_blocks: Tensor
    """`[blocks, 2]`: the prompt, and the first row of the block within it; each block has one program per head."""
    columns: Tensor
    """`[total columns]`, the prompt positions of image tokens: prompt after prompt, ascending within each."""
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
    row_blocks, column_blocks, flat_columns = array("i"), array("i"), array("i")
    for prompt, (length, positions) in enumerate(zip(lengths, columns, strict=True)):
        # The last rows see most columns and take longest, so their programs start first.
        for first in reversed(range(0, length, ROWS_PER_BLOCK)):
            row_blocks.extend((prompt, first))
        begin = len(flat_columns)
        flat_columns.extend(positions)
        for first in range(begin, len(flat_columns), COLUMNS_PER_BLOCK):
            column_blocks.extend((prompt, first, min(first + COLUMNS_PER_BLOCK, len(flat_columns))))
    tables = (array("i", row_starts), array("i", lengths), row_blocks, flat_columns, column_blocks)
    start, size, rows, at, blocks = on_device(tables, device)
    return PromptTables(start, start, size, rows.view(-1, 2), at, blocks.view(-1, 3))


def tables_after_prefixes(
    row_starts: Sequence[int], cached: Sequence[int], lengths: Sequence[int], device: torch.device | str
) -> PromptTables:
    """Describe prompts of which the batch holds the rows after a cached prefix, for `launch.broadcast_rows` alone.

    Keys and values are those of whole prompts, one prompt after another.

    Args:
        row_starts: place in the batch of the first row after each prefix.
        cached: tokens of each prefix.
        lengths: tokens of each whole prompt.
        device: device of the batch.
    """
    row_blocks, key_start, key_stop = array("i"), array("i"), 0
    for prompt, (first, length) in enumerate(zip(cached, lengths, strict=True)):
        for block in reversed(range(first, length, ROWS_PER_BLOCK)):
            row_blocks.extend((prompt, block))
        key_start.append(key_stop)
        key_stop += length
    # Rows have the prompt's positions, so a prompt "begins" before its rows, perhaps before the batch.
    starts = array("i", [start - first for start, first in zip(row_starts, cached, strict=True)])
    start, key, size, rows = on_device((starts, key_start, array("i", lengths), row_blocks), device)
    return PromptTables(start, key, size, rows.view(-1, 2), size[:0], size[:0].view(-1, 3))
