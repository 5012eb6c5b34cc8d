"""Random attention inputs for the property tests, and a recorder of how much memory a function asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eah_vllm.kernels.packed import on_device
from eah_vllm.method.sinks import ROWS_PER_BLOCK, ColumnTables, attention_received

ENGINE_DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """`query` `[token, head, dim]`, `key` `[token, kv_head, dim]`, `value` `[token, kv_head, value_dim]`."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scale: float
    columns: list[int]
    rows_per_block: int

    @property
    def num_tokens(self) -> int:
        return self.query.shape[0]

    @property
    def num_heads(self) -> int:
        return self.query.shape[1]


def mean_attention_received(
    query: torch.Tensor,
    key: torch.Tensor,
    columns: torch.Tensor,
    scale: float,
    *,
    divisor: int | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> torch.Tensor:
    """The product's sums over later rows, divided as it divides them; `divisor` stands in the place of `S - 1`."""
    tables = ColumnTables.arrays([columns.tolist()], [query.shape[0] - 1 if divisor is None else divisor], [0.0])
    received = attention_received(query, key, columns, scale, rows_per_block=rows_per_block)
    return received / ColumnTables(*on_device(tables, "cpu")).divisor


def random_qkv(
    seed: int, num_tokens: int, num_heads: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value as the engine hands them over: strided views of one fused projection.

    Keys share a direction with the queries for a few tokens, so that maps have sinks and are not just noise.
    """
    generator = torch.Generator().manual_seed(seed)
    fused = torch.randn(num_tokens, (num_heads + 2 * num_kv_heads) * head_dim, generator=generator) * 1.5
    fused = fused.to(dtype)
    query, key, value = fused.split([num_heads * head_dim, num_kv_heads * head_dim, num_kv_heads * head_dim], dim=-1)
    query = query.unflatten(-1, (num_heads, head_dim))
    key = key.unflatten(-1, (num_kv_heads, head_dim))
    value = value.unflatten(-1, (num_kv_heads, head_dim))
    query += 0.7
    key[torch.rand(num_tokens, num_kv_heads, generator=generator) < 0.2] += 0.7
    return query, key, value


@st.composite
def attention_cases(draw: st.DrawFn) -> AttentionCase:
    """MHA, GQA and MQA; any number of image spans, at the start, in the middle and at the very end; any block size."""
    num_tokens = draw(st.integers(1, 12), label="num_tokens")
    num_kv_heads = draw(st.integers(1, 3), label="num_kv_heads")
    group = draw(st.integers(1, 3), label="group")
    head_dim = draw(st.integers(1, 4), label="head_dim")
    dtype = draw(st.sampled_from(ENGINE_DTYPES), label="dtype")
    columns = draw(st.sets(st.integers(0, num_tokens - 1), min_size=1), label="columns")
    query, key, value = random_qkv(
        draw(st.integers(0, 2**16), label="seed"), num_tokens, num_kv_heads * group, num_kv_heads, head_dim, dtype
    )
    return AttentionCase(
        query=query,
        key=key,
        value=value,
        scale=draw(st.sampled_from([0.3, head_dim**-0.5, 1.0]), label="scale"),
        columns=sorted(columns),
        rows_per_block=draw(st.integers(1, num_tokens + 3), label="rows_per_block"),
    )


class _LargestStorage(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.num_bytes = max(self.num_bytes, leaf.untyped_storage().nbytes())
        return result


def largest_storage_bytes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Size of the largest tensor that `function` makes or touches, in bytes; views count as what they view."""
    with _LargestStorage() as recorder:
        function(*args, **kwargs)
    return recorder.num_bytes
