"""EAH as the released code does it, on a layer's whole attention maps: the reference for the measurements at op level.

It is written from the paper (arXiv 2411.09968) and a description of the released code, and shares nothing with
`eah_vllm`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def naive_eah(query: Tensor, key: Tensor, value: Tensor, columns: Tensor, scale: float, threshold: float) -> Tensor:
    """Compute one layer of one prompt: the maps of all heads, their column means, one head's map copied to all heads.

    Args:
        query: `[S, num_heads, head_dim]`.
        key: `[S, num_kv_heads, head_dim]`.
        value: `[S, num_kv_heads, head_dim]`.
        columns: int64 `[num_columns]`, positions of the image tokens.
        scale: factor on the scores before the softmax.
        threshold: a column that receives a higher mean is a vision sink.

    Returns:
        `[S, num_heads, head_dim]` in `value`'s dtype.
    """
    num_tokens, num_heads, _ = query.shape
    group = num_heads // key.shape[1]
    keys, values = (tensor.float().repeat_interleave(group, dim=1) for tensor in (key, value))
    scores = torch.einsum("rhd,chd->hrc", query.float(), keys) * scale
    later = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu(1)
    attention = scores.masked_fill(later, float("-inf")).softmax(dim=-1)
    off_diagonal = attention * ~torch.eye(num_tokens, dtype=torch.bool)
    received = off_diagonal.sum(dim=1)[:, columns] / (num_tokens - 1 - columns)
    source = int((received > threshold).sum(dim=-1).argmax())
    attention[:] = attention[source].clone()
    return torch.einsum("hrc,chd->rhd", attention, values).to(value.dtype)


def naive_bytes(num_tokens: int, num_heads: int) -> int:
    """Estimate the bytes that `naive_eah` holds at once: scores, masked copy, map, and map without its diagonal."""
    return 4 * 4 * num_heads * num_tokens * num_tokens
