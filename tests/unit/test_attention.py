"""Broadcast attention: one head's map with every head's own values, against `tests/naive.py`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eah_vllm.method.attention import broadcast_attention
from tests import naive
from tests.unit.attention_cases import (
    ENGINE_DTYPES,
    AttentionCase,
    attention_cases,
    largest_storage_bytes,
    random_qkv,
)

# Largest error of one result in the output's type, of values of size about 2: a few units in the last place.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def one_head(query: torch.Tensor, key: torch.Tensor, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A head's query and its group's key, `[token, dim]`."""
    return query[:, head], key[:, head // (query.shape[1] // key.shape[1])]


def broadcast(case: AttentionCase, source_head: int) -> torch.Tensor:
    source_query, source_key = one_head(case.query, case.key, source_head)
    return broadcast_attention(
        source_query, source_key, case.value, case.num_heads, case.scale, rows_per_block=case.rows_per_block
    )


@given(attention_cases(), st.data())
def test_broadcast_is_the_source_heads_map_times_each_heads_values(case: AttentionCase, data: st.DataObject) -> None:
    source_head = data.draw(st.integers(0, case.num_heads - 1), label="source_head")
    out = broadcast(case, source_head)
    expected = naive.broadcast(case.query, case.key, case.value, source_head, case.scale)
    assert out.dtype == case.value.dtype
    tolerance = TOLERANCE[out.dtype]
    torch.testing.assert_close(out.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", ENGINE_DTYPES)
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(8, 8), (8, 2), (6, 3), (4, 1)])
def test_broadcast_is_ordinary_attention_with_the_source_heads_query_and_key(
    num_heads: int, num_kv_heads: int, dtype: torch.dtype
) -> None:
    """At a real head size, over several default blocks, against torch's own attention in float32."""
    num_tokens, source_head = 150, num_heads - 1
    query, key, value = random_qkv(3, num_tokens, num_heads, num_kv_heads, head_dim=32, dtype=dtype)
    group = num_heads // num_kv_heads
    out = broadcast_attention(*one_head(query, key, source_head), value, num_heads, 32**-0.5)

    every_query = query[:, [source_head] * num_heads].float().transpose(0, 1)
    every_key = key[:, [source_head // group] * num_heads].float().transpose(0, 1)
    every_value = value.repeat_interleave(group, dim=1).float().transpose(0, 1)
    expected = torch.nn.functional.scaled_dot_product_attention(every_query, every_key, every_value, is_causal=True)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(out.float(), expected.transpose(0, 1), atol=tolerance, rtol=tolerance)


def test_every_source_head_gives_another_result() -> None:
    """Guards the tests above: with one map for all heads they would pass for any choice."""
    query, key, value = random_qkv(5, 20, num_heads=4, num_kv_heads=2, head_dim=8)
    results = [broadcast_attention(*one_head(query, key, h), value, 4, 0.35) for h in range(4)]
    for i in range(4):
        for j in range(i):
            assert float((results[i] - results[j]).abs().max()) > 0.1


def test_a_later_token_changes_no_earlier_row() -> None:
    query, key, value = random_qkv(6, 9, num_heads=4, num_kv_heads=2, head_dim=4)
    before = broadcast_attention(*one_head(query, key, 1), value, 4, 0.5, rows_per_block=4)
    key[8], value[8] = 9.0, 9.0
    after = broadcast_attention(*one_head(query, key, 1), value, 4, 0.5, rows_per_block=4)
    torch.testing.assert_close(after[:8], before[:8])
    assert float((after[8] - before[8]).abs().max()) > 0.1


def test_half_precision_inputs_do_not_overflow() -> None:
    query = torch.full((3, 4), 200.0, dtype=torch.float16)
    value = torch.arange(3, dtype=torch.float16).view(3, 1, 1)
    out = broadcast_attention(query, query, value, num_heads=2, scale=1.0)
    torch.testing.assert_close(out[:, 1, 0], torch.tensor([0.0, 0.5, 1.0], dtype=torch.float16))


def test_memory_of_the_broadcast_grows_linearly_and_never_holds_all_maps() -> None:
    num_heads, rows_per_block, head_dim, bytes_per_float = 8, 16, 4, 4
    largest = {}
    for num_tokens in (512, 1024):
        query, key, value = random_qkv(0, num_tokens, num_heads, num_heads, head_dim)
        source_query, source_key = one_head(query, key, 1)
        # Copies, so that the fused projection that the views belong to is not what is measured.
        source_query, source_key, value = source_query.clone(), source_key.clone(), value.clone()
        largest[num_tokens] = largest_storage_bytes(
            broadcast_attention, source_query, source_key, value, num_heads, 0.5, rows_per_block=rows_per_block
        )
        one_block_of_maps = num_heads * rows_per_block * num_tokens * bytes_per_float
        assert largest[num_tokens] <= one_block_of_maps
    assert largest[1024] <= 2 * largest[512]
