"""Vision sinks: how much attention image tokens receive, and the head that has most sinks (EAH, arXiv 2411.09968)."""

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Query rows whose attention is held at once; bounds memory to heads * ROWS_PER_BLOCK * S values."""


def causal_attention_rows(query: Tensor, key: Tensor, start: int, scale: float) -> Tensor:
    """Post-softmax attention of some consecutive rows of a prompt.

    Args:
        query: `[rows, num_heads, head_dim]`, rows `start` to `start + rows` of the prompt.
        key: `[start + rows, num_kv_heads, head_dim]`, every column that these rows may see.
        start: prompt position of the first row.
        scale: factor on the scores before the softmax.

    Returns:
        `[num_heads, rows, start + rows]` in float32.
    """
    rows, num_heads, head_dim = query.shape
    columns, num_kv_heads, _ = key.shape
    grouped = query.view(rows, num_kv_heads, num_heads // num_kv_heads, head_dim).float()
    scores = torch.einsum("rkgd,ckd->kgrc", grouped, key.float()).reshape(num_heads, rows, columns) * scale
    position = torch.arange(columns, device=query.device)
    scores.masked_fill_(position[None, None, :] > position[None, start:, None], float("-inf"))
    return torch.softmax(scores, dim=-1)


def mean_attention_received(
    query: Tensor,
    key: Tensor,
    columns: Tensor,
    scale: float,
    *,
    divisor: Tensor | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> Tensor:
    """Mean attention that columns receive from later rows: `sum over r > c of A[h, r, c] / (S - 1 - c)`.

    Args:
        query: `[S, num_heads, head_dim]`, the prompt's queries, after rotary embedding.
        key: `[S, num_kv_heads, head_dim]`.
        columns: int64 `[num_columns]`, ascending prompt positions (of image tokens).
        scale: factor on the scores before the softmax.
        divisor: `[num_columns]` replaces `S - 1 - c`; a column whose divisor is not positive receives 0.
        rows_per_block: rows held at once.

    Returns:
        float32 `[num_heads, num_columns]`; 0 for a column that no later row sees.
    """
    num_tokens, num_heads, _ = query.shape
    received = torch.zeros(num_heads, len(columns), device=query.device)
    for start in range(0, num_tokens, rows_per_block):
        stop = min(start + rows_per_block, num_tokens)
        attention = causal_attention_rows(query[start:stop], key[:stop], start, scale)
        rows = torch.arange(start, stop, device=query.device)
        # A block sees only columns < stop; clamping keeps later columns in range and `later_row` drops them again.
        later_row = rows[:, None] > columns[None, :]
        received += (attention[:, :, columns.clamp(max=stop - 1)] * later_row).sum(dim=1)
    if divisor is None:
        divisor = num_tokens - 1 - columns
    return torch.where(divisor > 0, received / divisor.clamp(min=1), 0.0)


def count_sinks(received: Tensor, threshold: float) -> Tensor:
    """Columns that receive more than `threshold`, per head: `[num_heads, num_columns]` -> int64 `[num_heads]`."""
    return (received > threshold).sum(dim=-1)


def choose_source_head(
    sinks: Tensor,
    image_tokens: int,
    rule: str | int,
    *,
    min_density: float = 0.0,
    head_zero_wins: bool = True,
    random_seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Choose the head whose attention map the layer will use; nothing here waits for the device.

    Args:
        sinks: int64 `[num_heads]`, vision sinks of every head of the layer.
        image_tokens: image tokens of the prompt.
        rule: "auto" (most sinks, lowest index on ties), "sparsest" (fewest), "random", or a fixed head.
        min_density: gamma, the least share of image tokens that are sinks of the source head; for "auto".
        head_zero_wins: False repeats the released code's `if k > 0`, which never broadcasts head 0; for "auto".
        random_seed: decides "random"; the same on every rank and after preemption.

    Returns:
        Source head (int64 scalar) and whether to broadcast it (bool scalar), both on `sinks`' device.
    """
    num_heads = len(sinks)
    if isinstance(rule, int):
        return torch.full_like(sinks[0], rule), torch.ones_like(sinks[0], dtype=torch.bool)
    head_idx = torch.arange(num_heads, device=sinks.device)
    if rule == "random":
        source = torch.full_like(sinks[0], random_seed % num_heads)
    elif rule == "sparsest":
        source = (sinks * num_heads + head_idx).argmin()
    else:
        # argmax does not promise the first of equals; adding the index makes the lowest head win.
        source = (sinks * num_heads + (num_heads - 1 - head_idx)).argmax()
    broadcast = sinks.max() > 0
    if rule == "auto":
        broadcast = broadcast & (sinks[source] >= min_density * image_tokens)
        if not head_zero_wins:
            broadcast = broadcast & (source > 0)
    return source, broadcast
