"""Vision sinks: mean attention received and sink counts, against `tests/naive.py`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from eah_vllm.method.sinks import causal_attention_rows, count_sinks
from tests import naive
from tests.unit.attention_cases import (
    AttentionCase,
    attention_cases,
    largest_storage_bytes,
    mean_attention_received,
    random_qkv,
)


def received_of(case: AttentionCase) -> torch.Tensor:
    return mean_attention_received(
        case.query, case.key, torch.tensor(case.columns), case.scale, rows_per_block=case.rows_per_block
    )


@given(attention_cases())
def test_mean_attention_received_is_the_naive_mean(case: AttentionCase) -> None:
    received = received_of(case)
    expected = naive.mean_attention_received(case.query, case.key, case.columns, case.scale)
    assert received.dtype == torch.float32
    # The same tolerance for half precision inputs: the statistics are float32 whatever the engine computes in.
    torch.testing.assert_close(received.double(), expected, atol=2e-6, rtol=2e-5)


@given(attention_cases(), st.data())
def test_a_given_divisor_replaces_the_number_of_later_rows(case: AttentionCase, data: st.DataObject) -> None:
    divisor = data.draw(st.integers(-2, 20 + case.num_tokens), label="divisor")
    divisors = [divisor - column for column in case.columns]
    received = mean_attention_received(
        case.query,
        case.key,
        torch.tensor(case.columns),
        case.scale,
        divisor=divisor,
        rows_per_block=case.rows_per_block,
    )
    expected = naive.mean_attention_received(case.query, case.key, case.columns, case.scale, divisors)
    torch.testing.assert_close(received.double(), expected, atol=1e-5, rtol=2e-5)


@pytest.mark.parametrize("num_tokens", [63, 64, 65, 130])
def test_the_default_block_size_gives_the_naive_mean(num_tokens: int) -> None:
    query, key, _ = random_qkv(7, num_tokens, num_heads=4, num_kv_heads=2, head_dim=4)
    columns = [0, 1, 30, 62, num_tokens - 1]
    received = mean_attention_received(query, key, torch.tensor(sorted(set(columns))), 0.5)
    expected = naive.mean_attention_received(query, key, sorted(set(columns)), 0.5)
    torch.testing.assert_close(received.double(), expected, atol=2e-6, rtol=2e-5)


def test_uniform_attention_has_a_closed_form() -> None:
    """Zero queries give row r the weight 1 / (r + 1) everywhere, so column 1 of 4 receives (1/3 + 1/4) / 2."""
    received = mean_attention_received(torch.zeros(4, 2, 3), torch.ones(4, 1, 3), torch.tensor([0, 1, 2, 3]), 1.0)
    expected = torch.tensor([(1 / 2 + 1 / 3 + 1 / 4) / 3, (1 / 3 + 1 / 4) / 2, 1 / 4, 0.0]).expand(2, 4)
    torch.testing.assert_close(received, expected)


def test_the_last_column_receives_nothing_and_is_never_a_sink() -> None:
    """No row comes after it; its own diagonal, here nearly 1, does not count."""
    query = torch.ones(3, 1, 2)
    key = torch.tensor([[0.0, 0.0], [0.0, 0.0], [50.0, 50.0]]).unsqueeze(1)
    received = mean_attention_received(query, key, torch.tensor([2]), 1.0)
    assert received.tolist() == [[0.0]]
    assert count_sinks(received, 1e-9).tolist() == [0]


def test_half_precision_inputs_do_not_overflow() -> None:
    """Scores of 160,000 are beyond float16; massive activations make such queries and keys."""
    query = torch.full((3, 2, 4), 200.0, dtype=torch.float16)
    key = torch.full((3, 2, 4), 200.0, dtype=torch.float16)
    received = mean_attention_received(query, key, torch.tensor([0, 1]), 1.0)
    torch.testing.assert_close(received, torch.tensor([[(1 / 2 + 1 / 3) / 2, 1 / 3]] * 2))


def test_the_divisor_of_the_released_code_is_the_true_one_at_648_tokens() -> None:
    columns = torch.tensor([36, 300, 610])
    query, key, _ = random_qkv(1, 648, num_heads=2, num_kv_heads=2, head_dim=4)
    ours = mean_attention_received(query, key, columns, 0.5)
    theirs = mean_attention_received(query, key, columns, 0.5, divisor=647)
    torch.testing.assert_close(theirs, ours)
    assert float(ours.min()) > 0


def test_no_column_no_statistics() -> None:
    query, key, _ = random_qkv(0, 5, num_heads=2, num_kv_heads=1, head_dim=2)
    received = mean_attention_received(query, key, torch.tensor([], dtype=torch.int64), 1.0)
    assert received.shape == (2, 0)
    assert count_sinks(received, 0.1).tolist() == [0, 0]


@pytest.mark.parametrize("num_kv_heads", [2, 8])
def test_memory_of_the_statistics_grows_linearly_and_never_holds_all_maps(num_kv_heads: int) -> None:
    num_heads, rows_per_block, bytes_per_float = 8, 16, 4
    largest = {}
    for num_tokens in (512, 1024):
        query, key, _ = random_qkv(0, num_tokens, num_heads, num_kv_heads, head_dim=4)
        columns = torch.arange(3, num_tokens - 3)
        largest[num_tokens] = largest_storage_bytes(
            mean_attention_received, query, key, columns, 0.5, rows_per_block=rows_per_block
        )
        assert largest[num_tokens] <= num_heads * rows_per_block * num_tokens * bytes_per_float
    assert largest[1024] <= 2 * largest[512]


@given(attention_cases(), st.data())
def test_attention_rows_are_the_naive_map(case: AttentionCase, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, case.num_tokens - 1), label="start")
    stop = data.draw(st.integers(start + 1, case.num_tokens), label="stop")
    rows = causal_attention_rows(case.query[start:stop], case.key[:stop], start, case.scale)
    assert rows.dtype == torch.float32
    assert rows.shape == (case.num_heads, stop - start, stop)
    for head in range(case.num_heads):
        expected = naive.attention_map(case.query, case.key, head, case.scale)
        for r in range(start, stop):
            padded = torch.tensor(expected[r] + [0.0] * (stop - r - 1), dtype=torch.float64)
            torch.testing.assert_close(rows[head, r - start].double(), padded, atol=2e-6, rtol=2e-5)


def test_a_column_at_the_threshold_is_no_sink() -> None:
    """`m > threshold`, strictly. 0.25 and 0.5 are exact in float32."""
    received = torch.tensor([[0.25, 0.5, 0.125], [0.25, 0.25, 0.0], [0.5, 0.5, 0.5]])
    sinks = count_sinks(received, 0.25)
    assert sinks.dtype == torch.int64
    assert sinks.tolist() == [1, 0, 3]


@given(attention_cases(), st.floats(0.01, 0.9))
def test_sink_counts_are_the_naive_ones(case: AttentionCase, threshold: float) -> None:
    expected = naive.mean_attention_received(case.query, case.key, case.columns, case.scale)
    # Rounding decides on columns this near to the threshold; neither side is wrong there.
    assume(float((expected - threshold).abs().min()) > 1e-5)
    assert count_sinks(received_of(case), threshold).tolist() == naive.count_sinks(expected, threshold)
