"""Vision sinks: image tokens that receive much attention (EAH, arXiv 2411.09968)."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Query rows whose attention is held at once."""
VALUES_PER_BLOCK = 1 << 19
"""Attention values held at once, where one head's rows allow it: 2 MiB in float32, the size of a core's cache."""
LARGEST_BLOCK = 1 << 21
"""Attention values held at once for one key head, whose query heads cannot be taken apart: 8 MiB in float32."""


@dataclass(frozen=True, slots=True)
class ColumnTables:
    """What is known of the image tokens of a step's prompts, `[total columns]` each, on the device."""

    prompt: Tensor
    """int64, the prompt that the column belongs to."""
    divisor: Tensor
    """float32, the number of later rows as the prompt's settings count them; infinite where there are none."""
    threshold: Tensor
    """float32, the mean attention above which the column is a sink."""

    @staticmethod
    def arrays(
        columns: Sequence[Sequence[int]], divisors: Sequence[int], thresholds: Sequence[float]
    ) -> list["array[int] | array[float]"]:
        """Return what `on_device` is to bring to the device, in the order of the fields.

        Args:
            columns: prompt positions of each prompt's image tokens, ascending.
            divisors: for each prompt, what the sum of column c is divided by, plus c.
            thresholds: each prompt's vision-sink threshold.
        """
        prompt, divisor, threshold = array("q"), array("f"), array("f")
        for idx, (positions, most, least) in enumerate(zip(columns, divisors, thresholds, strict=True)):
            prompt.extend(array("q", [idx]) * len(positions))
            # Positions ascend, so those without a later row are the last.
            seen = bisect_left(positions, most)
            divisor.extend(map(most.__sub__, positions[:seen]))
            divisor.extend([inf] * (len(positions) - seen))
            threshold.extend(array("f", [least]) * len(positions))
        return [prompt, divisor, threshold]


def causal_attention_rows(query: Tensor, key: Tensor, start: int, scale: float) -> Tensor:
    """Compute the attention of some consecutive rows of a prompt, after the softmax.

    Args:
        query: `[rows, num_heads, head_dim]`, rows `start` to `start + rows` of the prompt.
        key: `[start + rows, num_kv_heads, head_dim]`, every column that these rows may see.
        start: prompt position of the first row.
        scale: factor on the scores before the softmax.

    Returns:
        `[num_heads, rows, start + rows]` in float32.
    """
    rows, num_heads, head_dim = query.shape
    num_kv_heads = key.shape[1]
    # `[kv heads, rows of its group, head_dim]`: one matrix product for each key head.
    grouped = (query.float() * scale).view(rows, num_kv_heads, -1, head_dim).permute(1, 2, 0, 3)
    scores = torch.bmm(grouped.reshape(num_kv_heads, -1, head_dim), key.float().permute(1, 2, 0))
    scores = scores.view(num_heads, rows, -1)
    # Only the last `rows` columns can lie in the future of one of these rows.
    future = torch.ones(rows, rows, dtype=torch.bool, device=query.device).triu_(1)
    scores[:, :, start:].masked_fill_(future, float("-inf"))
    return torch.softmax(scores, dim=-1)


def attention_received(
    query: Tensor, key: Tensor, columns: Tensor, scale: float, *, rows_per_block: int = ROWS_PER_BLOCK
) -> Tensor:
    """Compute the attention that columns receive from later rows: `sum over r > c of A[h, r, c]`.

    Args:
        query: `[S, num_heads, head_dim]`, the prompt's queries, after rotary embedding.
        key: `[S, num_kv_heads, head_dim]`.
        columns: int64 `[num_columns]`, ascending prompt positions (of image tokens).
        scale: factor on the scores before the softmax.
        rows_per_block: most rows held at once; fewer in a long prompt whose key heads have many query heads each.

    Returns:
        float32 `[num_heads, num_columns]`; 0 for a column that no later row sees.
    """
    num_tokens, num_heads, _ = query.shape
    num_kv_heads = key.shape[1]
    group = num_heads // num_kv_heads
    received = query.new_zeros(num_heads, num_tokens, dtype=torch.float32)
    rows = max(1, min(rows_per_block, num_tokens, LARGEST_BLOCK // (group * num_tokens)))
    step = max(1, VALUES_PER_BLOCK // (group * rows * num_tokens))
    for first in range(0, num_kv_heads, step):
        some = slice(first, min(first + step, num_kv_heads))
        heads = slice(some.start * group, some.stop * group)
        # Each head's keys side by side in memory; every block of rows reads them again, and its own queries once.
        some_key = key[:, some].transpose(0, 1).to(torch.float32).contiguous().transpose(0, 1)
        for start in range(0, num_tokens, rows):
            stop = min(start + rows, num_tokens)
            attention = causal_attention_rows(query[start:stop, heads], some_key[:stop], start, scale)
            attention.diagonal(offset=start, dim1=1, dim2=2).zero_()
            received[heads, :stop] += attention.sum(dim=1)
    return received[:, columns]


def count_sinks(received: Tensor, threshold: float) -> Tensor:
    """Count the columns that receive more than `threshold`: `[num_heads, num_columns]` -> int64 `[num_heads]`."""
    return (received > threshold).sum(dim=-1)


def count_sinks_of_prompts(received: Tensor, columns: ColumnTables, num_prompts: int) -> Tensor:
    """Count each prompt's vision sinks, the columns whose mean over later rows exceeds the threshold, of all at once.

    Args:
        received: float32 `[num_heads, total columns]`, the sums over later rows, prompt after prompt.
        columns: where the columns belong, on the same device.
        num_prompts: number of prompts, also those without a column.

    Returns:
        int64 `[num_prompts, num_heads]`.
    """
    are_sinks = received / columns.divisor > columns.threshold
    counts = torch.zeros(len(received), num_prompts, dtype=torch.int64, device=received.device)
    return counts.scatter_add_(1, columns.prompt.expand_as(are_sinks), are_sinks.long()).t()
