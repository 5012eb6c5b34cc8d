"""EAH's arithmetic as plain Python loops over scalars, for property tests at small sizes. Not fast, not shared.

Independent of `eah_vllm` and of `tests/reference.py`: one number at a time, straight from arXiv 2411.09968 section 3.
Shapes: query `[token, head, dim]`, key and value `[token, kv_head, dim]`. Query head `h` reads key/value head
`h // (heads / kv_heads)`.
"""

from __future__ import annotations

import math

import torch


def attention_map(query: torch.Tensor, key: torch.Tensor, head: int, scale: float) -> list[list[float]]:
    """Causal softmax(scale * Q K^T) of one query head: row r has r + 1 entries, in double precision."""
    num_tokens, num_heads, _ = query.shape
    kv_head = head // (num_heads // key.shape[1])
    queries = query[:, head].double().tolist()
    keys = key[:, kv_head].double().tolist()
    rows = []
    for r in range(num_tokens):
        logits = [scale * sum(a * b for a, b in zip(queries[r], keys[c], strict=True)) for c in range(r + 1)]
        largest = max(logits)
        exponentials = [math.exp(x - largest) for x in logits]
        total = sum(exponentials)
        rows.append([x / total for x in exponentials])
    return rows


def mean_attention_received(
    query: torch.Tensor, key: torch.Tensor, columns: list[int], scale: float, divisors: list[int] | None = None
) -> torch.Tensor:
    """`[head, column]`: what later rows give to each column, over the number of later rows (or over `divisors`).

    A column whose divisor is not positive receives 0, so that it is never a sink.
    """
    num_tokens, num_heads, _ = query.shape
    received = torch.zeros(num_heads, len(columns), dtype=torch.float64)
    for head in range(num_heads):
        rows = attention_map(query, key, head, scale)
        for i, column in enumerate(columns):
            divisor = divisors[i] if divisors is not None else num_tokens - 1 - column
            if divisor > 0:
                received[head, i] = sum(rows[r][column] for r in range(column + 1, num_tokens)) / divisor
    return received


def count_sinks(received: torch.Tensor, threshold: float) -> list[int]:
    """Columns of each head above the threshold, strictly."""
    return [sum(1 for value in row if value > threshold) for row in received.tolist()]


def densest_head(sinks: list[int]) -> int:
    """The head with most sinks, the lowest one among equals."""
    best = 0
    for head, count in enumerate(sinks):
        if count > sinks[best]:
            best = head
    return best


def sparsest_head(sinks: list[int]) -> int:
    """The head with fewest sinks, the lowest one among equals."""
    best = 0
    for head, count in enumerate(sinks):
        if count < sinks[best]:
            best = head
    return best


def broadcast(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, source_head: int, scale: float
) -> torch.Tensor:
    """`[token, head, dim]`: every head mixes its own values with the source head's map."""
    num_tokens, num_heads, _ = query.shape
    rows = attention_map(query, key, source_head, scale)
    group = num_heads // value.shape[1]
    values = value.double()
    out = torch.zeros(num_tokens, num_heads, value.shape[2], dtype=torch.float64)
    for head in range(num_heads):
        for r in range(num_tokens):
            for c in range(r + 1):
                out[r, head] += rows[r][c] * values[c, head // group]
    return out


def released_code_source_head(attention_maps: torch.Tensor) -> int | None:
    """What the authors' `modeling_llama_eah.py` chooses for one LLaVA-1.5 prompt, None where it changes nothing.

    Their image columns are 36 to 610 (the first image token is at 35), the divisor of column c is 647 - c whatever the
    prompt's length, a later head must have strictly more sinks, and a winning head 0 is not broadcast.

    Args:
        attention_maps: `[head, query, key]`, causal.
    """
    best_head, best_count = 0, 0
    for head in range(attention_maps.shape[0]):
        count = 0
        for column in range(36, 611):
            received = attention_maps[head, :, column].sum() - attention_maps[head, column, column]
            count += int(received / (647 - column) > 0.0008)
        if count > best_count:
            best_head, best_count = head, count
    return best_head if best_head > 0 else None
