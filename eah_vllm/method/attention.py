"""One head's attention map, used by every head of the layer with its own values."""

import torch
from torch import Tensor

from eah_vllm.method.sinks import causal_attention_rows

ROWS_PER_BLOCK = 256
"""Query rows whose attention is held at once. It is one head's, so there may be more than `sinks.ROWS_PER_BLOCK`."""


def broadcast_attention(
    source_query: Tensor,
    source_key: Tensor,
    value: Tensor,
    num_heads: int,
    scale: float,
    *,
    output: Tensor | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> Tensor:
    """Compute `out[:, j] = A[source] @ V[j]` for every head j: all heads use the source head's query and key.

    Args:
        source_query: `[S, head_dim]`, the source head's queries.
        source_key: `[S, head_dim]`, the keys of the source head's group.
        value: `[S, num_kv_heads, value_dim]`; head j uses group `j // (num_heads / num_kv_heads)`.
        num_heads: number of query heads in the output.
        scale: factor on the scores before the softmax.
        output: `[S, num_heads, value_dim]` to write into; None makes a new tensor.
        rows_per_block: rows held at once.

    Returns:
        `[S, num_heads, value_dim]` in `value`'s dtype: `output`, where it was given.
    """
    num_tokens, num_kv_heads, value_dim = value.shape
    # bfloat16 values are multiplied as they are, as in every fused kernel; CPUs have no fast product for float16.
    product_dtype = torch.float32 if value.dtype == torch.float16 else value.dtype
    values = value.reshape(num_tokens, -1).to(product_dtype)
    source_query, source_key = source_query.float(), source_key.float()
    if output is None:
        output = value.new_empty(num_tokens, num_heads, value_dim)
    grouped = output.view(num_tokens, num_kv_heads, -1, value_dim)
    for start in range(0, num_tokens, rows_per_block):
        stop = min(start + rows_per_block, num_tokens)
        attention = causal_attention_rows(source_query[start:stop, None], source_key[:stop, None], start, scale)[0]
        rows = (attention.to(product_dtype) @ values[:stop]).view(stop - start, num_kv_heads, 1, value_dim)
        grouped[start:stop] = rows
    return output
