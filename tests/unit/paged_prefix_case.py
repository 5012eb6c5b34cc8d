"""`prefix_reuse` in one layer of one step: on a pretended GPU with paged caches, and in vLLM's CPU kernel.

Run as a module it saves what it found: the process then has Triton's interpreter. The caches are filled by vLLM's own
kernels.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl, CPUAttentionMetadata, _get_attn_isa
from vllm.v1.attention.ops.triton_reshape_and_cache_flash import triton_reshape_and_cache_flash

from eah_vllm.engine.attention_call import AttentionCall, attend_after_cached_prefixes
from eah_vllm.engine.layer import eah_impl_class
from eah_vllm.method.base import LayerStep, Part, Parts
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import EAHOptions
from eah_vllm.order import Order
from eah_vllm.reuse.reused_heads import ReusedHeads
from eah_vllm.settings import ModelShape, resolve
from eah_vllm.worker.request_state import RequestState
from tests.unit.attention_cases import random_qkv
from tests.unit.pretend_gpu import OnGPU, PretendedGPU, pretended_gpu
from tests.unit.prompt_batch_case import Ranks

HEADS, KV_HEADS, HEAD_DIM, BLOCK, LAYER = 4, 2, 32, 32, 1
SCALE = HEAD_DIM**-0.5
LAYOUTS = {"NHD": (0, 2, 1, 3), "HND": (0, 1, 2, 3)}
"""Order of blocks, heads, tokens and contents in memory."""
ON_ONE_RANK = [("NHD", torch.float32), ("HND", torch.float32), ("NHD", torch.bfloat16)]
RECORDED = {"long": [2, 5, 9, 1, 1], "not applied": [0, 0, 0, 0, 1]}
"""What the first question about an image has recorded."""
PROMPTS = [
    ("new", 50, 0),
    ("new", 45, 32),  # it reads what the first one writes in the same step
    ("new", 38, 0),
    ("long", 131, 32),
    ("unknown", 40, 32),
    ("not applied", 70, 64),
]
"""Record, length and cached tokens."""
NUM_BLOCKS = 20


def prompts() -> Parts[RequestState]:
    """A foreign row stands before every prompt."""
    parts, start = [], 1
    settings = resolve(EAHOptions(relative_threshold=1.2, layer=LAYER), EAHOptions(), ModelShape(4, HEADS))
    for idx, (record, length, cached) in enumerate(PROMPTS):
        spans = (ImageSpan(2, 30),)
        state = RequestState(f"r{idx}", Order("eah", settings, record=record), length, spans, pictures=("picture",))
        parts.append(Part(state, start, idx, cached))
        start += length - cached + 1
    return Parts(tuple(parts))


def whole_prompts(dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """Query, key and value of each whole prompt; what the second reads from the cache is the first one's."""
    made = [
        list(random_qkv(idx, length, HEADS, KV_HEADS, HEAD_DIM, dtype)) for idx, (_, length, _) in enumerate(PROMPTS)
    ]
    for first, second in zip(made[0], made[1], strict=True):
        second[:BLOCK] = first[:BLOCK]
    return made


def block_table() -> torch.Tensor:
    """Blocks in no order; the second prompt shares its first with the first prompt."""
    some = torch.randperm(NUM_BLOCKS, generator=torch.Generator().manual_seed(1))
    table, taken = torch.zeros(len(PROMPTS), 5, dtype=torch.int32), 0
    for idx, (_, length, _) in enumerate(PROMPTS):
        needed = -(-length // BLOCK)
        table[idx, :needed] = some[taken : taken + needed]
        taken += needed
    table[1, 0] = table[0, 0]
    return table


def slots(idx: int) -> torch.Tensor:
    """Where each token of a prompt lies in the cache."""
    position = torch.arange(PROMPTS[idx][1])
    return block_table()[idx, position // BLOCK].long() * BLOCK + position % BLOCK


def batch(dtype: torch.dtype) -> list[torch.Tensor]:
    """Query, key and value of the step's rows; rows of no prompt are not a number."""
    parts = prompts().parts
    total = parts[-1].rows.stop + 1
    made = [torch.full((total, heads, HEAD_DIM), float("nan"), dtype=dtype) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    for part, whole in zip(parts, whole_prompts(dtype), strict=True):
        for matrix, rows in zip(made, whole, strict=True):
            matrix[part.rows] = rows[part.num_cached :]
    return made


def step(matrices: list[torch.Tensor], shards: HeadShards, impl: Any, kv_cache: Any, metadata: Any) -> LayerStep:
    """A layer whose ordinary attention gives sevens."""
    output = torch.full_like(matrices[0], 7.0, memory_format=torch.contiguous_format)
    call = AttentionCall(impl, impl.layer, *matrices, kv_cache, metadata, output, (), {})
    return LayerStep(LAYER, *matrices, output, SCALE, shards, call, writes_cache=False)


def reused_heads(on_gpu: bool) -> ReusedHeads:
    """With what earlier steps have recorded."""
    method = ReusedHeads(attend_after_cached_prefixes)
    for record, row in RECORDED.items():
        choice = torch.tensor(row)
        method.recorded.put(record, LAYER, OnGPU(choice) if on_gpu else choice)
    return method


def paged_cache(layout: str, dtype: torch.dtype, heads: slice) -> torch.Tensor:
    """`[blocks, kv heads, block_size, 2 * head_dim]`, filled by vLLM's Triton kernel."""
    shape, order = (NUM_BLOCKS, heads.stop - heads.start, BLOCK, 2 * HEAD_DIM), LAYOUTS[layout]
    memory = torch.full([shape[axis] for axis in order], float("nan"), dtype=dtype)
    cache = memory.permute([order.index(axis) for axis in range(4)])
    keys, values = cache.transpose(1, 2).split(HEAD_DIM, dim=-1)  # as in `TritonAttentionImpl.do_kv_cache_update`
    one = torch.ones(())
    for idx, (_, key, value) in enumerate(whole_prompts(dtype)):
        mine = key[:, heads].contiguous(), value[:, heads].contiguous()
        with patch.object(torch.cuda, "get_device_capability", lambda _: (9, 0)):  # it decides the size of a tile
            triton_reshape_and_cache_flash(*mine, keys, values, slots(idx), "auto", one, one)
    return cache


def on_gpu(gpu: PretendedGPU, cache: torch.Tensor, matrices: list[torch.Tensor], shards: HeadShards) -> dict[str, Any]:
    """Choices and output, and what was launched."""
    impl = SimpleNamespace(kv_is_paged=True, layer=None, plain_attention=lambda *args: args[-1])
    metadata, asked = SimpleNamespace(block_table=OnGPU(block_table())), prompts()
    at = step([OnGPU(matrix) for matrix in matrices], shards, impl, OnGPU(cache), metadata)
    gpu.launched.clear()
    choices = reused_heads(on_gpu=True).on_prompts(at, asked)
    return {
        "choices": choices.values,  # type: ignore[attr-defined]
        "output": at.output.values,  # type: ignore[attr-defined]
        "launched": dict(gpu.launched),
        "reasons": [state.reason for state in asked.states],
    }


def on_ranks(gpu: PretendedGPU, dtype: torch.dtype) -> dict[str, Any]:
    """Two tensor-parallel ranks, each with its heads' cache."""
    ranks, half, kv_half = Ranks(), HEADS // 2, KV_HEADS // 2
    with torch.utils._python_dispatch._disable_current_modes():
        caches = [paged_cache("NHD", dtype, slice(rank * kv_half, (rank + 1) * kv_half)) for rank in range(2)]
    for _ in range(3):  # the counts' sum decides what else is sent
        found = []
        for rank in range(2):
            mine, own = slice(rank * half, (rank + 1) * half), slice(rank * kv_half, (rank + 1) * kv_half)
            local = [matrix[:, heads] for matrix, heads in zip(batch(dtype), (mine, own, own), strict=True)]
            found.append(on_gpu(gpu, caches[rank], local, ranks.shards(rank)))
        ranks.end_of_pass()
    return {
        "choices": [one["choices"] for one in found],
        "output": torch.cat([one["output"] for one in found], dim=1),
        "reasons": found[0]["reasons"],
    }


def on_cpu(dtype: torch.dtype) -> dict[str, Any]:
    """The same step in vLLM's CPU kernel, which reads caches of its own kind."""
    impl: Any = object.__new__(eah_impl_class(CPUAttentionBackendImpl))
    alone = HeadShards(0, 1, lambda local: local)
    isa = _get_attn_isa(dtype, BLOCK, HEAD_DIM, "auto")
    vars(impl).update(
        num_heads=HEADS, num_kv_heads=KV_HEADS, head_size=HEAD_DIM, scale=SCALE, kv_cache_dtype="auto", sinks=None,
        attn_type="decoder", alibi_slopes=None, sliding_window=-1, logits_soft_cap=0, eah_shards=alone,
        kv_is_paged=False, layer=SimpleNamespace(isa=isa, _k_scale_float=1.0, _v_scale_float=1.0),
    )  # fmt: skip
    cache = torch.zeros(NUM_BLOCKS, KV_HEADS, BLOCK, 2 * HEAD_DIM, dtype=dtype)
    for idx, (_, key, value) in enumerate(whole_prompts(dtype)):
        impl.do_kv_cache_update(impl.layer, key, value, cache, slots(idx))
    nothing = torch.empty(0, dtype=torch.int32)
    metadata = CPUAttentionMetadata(0, 0, nothing, 0, nothing, block_table(), nothing, None)
    at, asked = step(batch(dtype), alone, impl, cache, metadata), prompts()
    at._result = at.output  # ordinary attention has run
    choices = reused_heads(on_gpu=False).on_prompts(at, asked)
    return {"choices": choices, "output": at.output, "reasons": [state.reason for state in asked.states]}


def run() -> dict[str, Any]:
    """Everything, by where it ran."""
    found: dict[str, Any] = {f"cpu {dtype}": on_cpu(dtype) for dtype in (torch.float32, torch.bfloat16)}
    for layout, dtype in ON_ONE_RANK:
        cache, matrices = paged_cache(layout, dtype, slice(0, KV_HEADS)), batch(dtype)
        with pretended_gpu() as gpu:
            found[f"{layout} {dtype}"] = on_gpu(gpu, cache, matrices, HeadShards(0, 1, lambda local: local))
    with pretended_gpu() as gpu:
        found["ranks torch.float32"] = on_ranks(gpu, torch.float32)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(run(), sys.argv[1])
