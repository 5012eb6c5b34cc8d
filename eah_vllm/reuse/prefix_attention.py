"""Computes prompt rows after a cached prefix with one head's attention map for every head, in the backend's own kernel.

No kernel of a backend uses one head's keys for all heads. So it runs over a copy of the request's KV blocks in which
every key/value head holds the source head's keys. How the backend packs the inside of a block does not matter here.
"""

from typing import Any

import torch
from torch import Tensor

from eah_vllm.method.base import Part, Prompt

PACKED_IMPLS = ("CPUAttentionBackendImpl",)
"""Attention implementations whose blocks are known to be `[blocks, kv heads, keys then values]`, each packed inside."""


def attend_after_prefix(
    impl: Any,
    layer: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kv_cache: Tensor,
    block_table: Tensor,
    metadata: Any,
    source: Tensor,
    prompt: Part[Prompt],
) -> Tensor:
    """Compute attention of the rows after a cached prefix, with the source head's map for every head.

    Args:
        impl: our subclass of `CPUAttentionBackendImpl`.
        layer: the `Attention` layer.
        query: `[rows, local heads, head_dim]`.
        key: `[rows, local kv heads, head_dim]`.
        value: `[rows, local kv heads, head_dim]`.
        kv_cache: `[blocks, local kv heads, block_size, 2 * head_dim]`; it is only read.
        block_table: indices of the request's blocks in `kv_cache`.
        metadata: metadata of these rows alone, over a cache that holds the request's blocks and no others.
        source: the source head, int64 scalar.
        prompt: the prompt and its rows in this step.

    Returns:
        `[rows, local heads, head_dim]`.
    """
    num_heads, head_dim = query.shape[1:]
    num_kv_heads, block_size = kv_cache.shape[1:3]
    num_blocks = -(-prompt.state.prompt_length // block_size)
    blocks = kv_cache[block_table[:num_blocks].long()]
    # The kernel sees keys and values as the halves of a block's inside.
    halves = blocks.view(num_blocks, num_kv_heads, 2, block_size * head_dim)
    halves[:, :, 0] = impl.eah_shards.take_group(halves[:, :, 0], source, num_heads)[:, None]

    first = torch.zeros(len(query), dtype=torch.int64, device=query.device)
    source_query, source_key = impl.eah_shards.take_heads(query, key, first, source.view(1))
    source_query = source_query[:, None].expand_as(query).contiguous()
    source_key = source_key[:, None].expand_as(key).contiguous()
    impl.do_kv_cache_update(layer, source_key, value, blocks, metadata.slot_mapping)
    output = torch.empty_like(query)
    impl.plain_attention(layer, source_query, source_key, value, blocks, metadata, output)
    return output
