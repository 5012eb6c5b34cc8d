"""Computes prompt rows after a cached prefix with one head's attention map for every head, on GPUs, in our own kernel.

The keys and values of the prompts are gathered from the KV cache first; the kernel is the one for whole prompts.
"""

from array import array
from dataclasses import dataclass

import torch
from torch import Tensor

from eah_vllm.kernels.packed import on_device
from eah_vllm.kernels.tables import PromptTables, tables_after_prefixes
from eah_vllm.method.backend import prompt_of_row
from eah_vllm.method.base import LayerStep, Parts, Prompt

PAGED_IMPLS = ("FlashAttentionImpl", "TritonAttentionImpl")
"""Attention implementations in whose KV cache each token's key and value are known to stand side by side."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Where the tokens of some prompts lie in the KV cache: int64 `[tokens]` each, prompt after prompt."""

    prompt: Tensor
    """Index of the prompt among the prompts."""
    request: Tensor
    """Row of the block table."""
    block: Tensor
    """Column of the block table."""
    offset: Tensor
    """Place within the block."""


def attend_after_prefixes(
    at: LayerStep, prompts: Parts[Prompt], choices: Tensor, kv_cache: Tensor, block_table: Tensor
) -> None:
    """Overwrite the rows after a cached prefix, for all prompts at once, without waiting for the device.

    Args:
        at: layer and step; the KV cache holds the step's own keys and values already.
        prompts: prompts with a cached prefix.
        choices: int64 `[prompts, 4 or more]`, see `EAH.choose`; a prompt that is not to be changed keeps its rows.
        kv_cache: `[blocks, local kv heads, block_size, 2 * head_dim]`, in memory in any order; a token's key stands
            before its value.
        block_table: int32 `[requests, blocks]`, indices of each request's blocks in `kv_cache`.
    """
    from eah_vllm.kernels import launch  # imported here, since V1 machines may lack Triton

    assert not at.writes_cache, "the cache would lack this step's keys and values"
    query, head_dim = at.query, at.query.shape[2]
    tokens, tables = _tables(prompts, kv_cache.shape[2], query.device)
    blocks = block_table[tokens.request, tokens.block].long()
    cached = kv_cache.transpose(1, 2)[blocks, tokens.offset].to(query.dtype)
    key, value = cached.split(head_dim, dim=-1)
    heads = choices[:, 0]
    kv_heads = torch.div(heads, query.shape[1] // key.shape[1], rounding_mode="floor")
    if at.shards.num_ranks > 1:
        query = at.shards.take_head(query, prompt_of_row(prompts, query), heads)[:, None]
        key = at.shards.take_head(key, tokens.prompt, kv_heads)[:, None]
        heads = kv_heads = torch.zeros_like(heads)
    launch.broadcast_rows(query, key, heads, kv_heads, value, choices[:, 3].bool(), at.output, tables, at.scale)


def _tables(prompts: Parts[Prompt], block_size: int, device: torch.device) -> tuple[_Tokens, PromptTables]:
    found: tuple[_Tokens, PromptTables] | None = prompts.memo.get("prefixes")
    if found is None:  # once per step, for all layers
        prompt, request, block, offset = array("q"), array("q"), array("q"), array("q")
        for idx, part in enumerate(prompts.parts):
            length = part.state.prompt_length
            prompt.extend(array("q", [idx]) * length)
            request.extend(array("q", [part.batch_idx]) * length)
            block.extend(position // block_size for position in range(length))
            offset.extend(position % block_size for position in range(length))
        tables = tables_after_prefixes(
            [part.row_start for part in prompts.parts],
            [part.num_cached for part in prompts.parts],
            [part.state.prompt_length for part in prompts.parts],
            device,
        )
        found = prompts.memo["prefixes"] = _Tokens(*on_device((prompt, request, block, offset), device)), tables
    return found
