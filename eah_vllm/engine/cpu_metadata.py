"""Makes the metadata with which vLLM's CPU attention computes some rows of one request, for `prefix_reuse`."""

from dataclasses import replace
from typing import Any

import torch
from vllm import envs

from eah_vllm.method.base import Part, Prompt


def cpu_metadata(impl: Any, layer: Any, batch: Any, dtype: torch.dtype, prompt: Part[Prompt], block_size: int) -> Any:
    """Make attention metadata of one request's rows, over a KV cache that holds its blocks and no others.

    Args:
        impl: our subclass of `CPUAttentionBackendImpl`.
        layer: the `Attention` layer.
        batch: vLLM's metadata of the whole batch.
        dtype: dtype of the queries.
        prompt: the prompt and its rows in this step.
        block_size: tokens in a block of the KV cache.
    """
    from vllm import _custom_ops as ops  # this loads vLLM's kernels, so it is done only where they will run

    length, num_rows = prompt.state.prompt_length, prompt.num_rows
    num_blocks = -(-length // block_size)
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
        slot_mapping=torch.arange(prompt.num_cached, length, dtype=torch.int64),
        scheduler_metadata=scheduler_metadata,
        causal=True,
        dynamic_causal=None,
    )
