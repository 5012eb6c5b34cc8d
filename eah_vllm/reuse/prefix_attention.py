"""Prompt rows after a cached prefix, with one head's attention map for every head, by the backend's own kernel.

No kernel uses one head's keys for all heads. So it runs over a copy of the request's KV blocks in which every key/value
head holds the source head's keys. How a backend packs the inside of a block stays its own affair.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from eah_vllm.method.prompt_batch import PrefillSlice

READABLE_IMPLS = ("CPUAttentionBackendImpl",)
"""Attention implementations whose blocks are known to be `[blocks, kv heads, key then value]`."""


def attend_after_prefix(
    impl: Any,
    layer: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kv_cache: Tensor,
    attn_metadata: Any,
    source: Tensor,
    piece: PrefillSlice,
) -> Tensor:
    """Attention of the rows after a cached prefix with the source head's map for every head.

    Args:
        impl: our subclass of `CPUAttentionBackendImpl`.
        layer: the `Attention` layer.
        query: `[rows, local heads, head_dim]`.
        key: `[rows, local kv heads, head_dim]`.
        value: `[rows, local kv heads, head_dim]`.
        kv_cache: `[blocks, local kv heads, block_size, 2 * head_dim]`; only read.
        attn_metadata: of the whole batch.
        source: the source head, int64 scalar.
        piece: which rows these are.

    Returns:
        `[rows, local heads, head_dim]`.
    """
    num_heads, head_dim = query.shape[1:]
    num_kv_heads, block_size = kv_cache.shape[1:3]
    length = piece.state.prompt_length
    num_blocks = -(-length // block_size)
    blocks = kv_cache[attn_metadata.block_table[piece.batch_idx, :num_blocks].long()]
    # The kernel sees keys and values as the halves of a block's inside.
    halves = blocks.view(num_blocks, num_kv_heads, 2, block_size * head_dim)
    halves[:, :, 0] = impl.eah_shards.take_group(halves[:, :, 0], source, num_heads)[:, None]

    source_query, source_key = impl.eah_shards.take_heads(query, key, [slice(0, len(query))], [source])
    source_query = source_query[:, None].expand_as(query).contiguous()
    source_key = source_key[:, None].expand_as(key).contiguous()
    metadata = _cpu_metadata(impl, layer, attn_metadata, query.dtype, piece.num_cached, length, num_blocks)
    impl.do_kv_cache_update(layer, source_key, value, blocks, metadata.slot_mapping)
    output = torch.empty_like(query)
    impl.plain_attention(layer, source_query, source_key, value, blocks, metadata, output)
    return output


def _cpu_metadata(
    impl: Any, layer: Any, batch: Any, dtype: torch.dtype, num_cached: int, length: int, num_blocks: int
) -> Any:
    from vllm import _custom_ops as ops
    from vllm import envs

    num_rows = length - num_cached
    query_start_loc = torch.tensor([0, num_rows], dtype=torch.int32)
    seq_lens = torch.tensor([length], dtype=torch.int32)
    scheduler_metadata = ops.cpu_attn_get_scheduler_metadata(
        num_reqs=1,
        num_heads=impl.num_heads,
        num_kv_heads=impl.num_kv_heads,
        head_dim=impl.head_size,
        seq_lens=seq_lens,
        dtype=dtype,
        query_start_loc=query_start_loc,
        causal=True,
        sliding_window_size=-1,
        isa=layer.isa,
        enable_kv_split=envs.VLLM_CPU_ATTN_SPLIT_KV,
        dynamic_causal=None,
        kv_cache_dtype=impl.kv_cache_dtype,
    )
    return replace(
        batch,
        num_actual_tokens=num_rows,
        max_query_len=num_rows,
        query_start_loc=query_start_loc,
        max_seq_len=length,
        seq_lens=seq_lens,
        block_table=torch.arange(num_blocks, dtype=torch.int32)[None],
        slot_mapping=torch.arange(num_cached, length, dtype=torch.int64),
        scheduler_metadata=scheduler_metadata,
        causal=True,
        dynamic_causal=None,
    )
