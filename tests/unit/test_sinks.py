"""Vision sinks: mean attention received, sink counts and the choice of the source head, against `tests/naive.py`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from eah_vllm.eah import RELEASED_CODE_DIVISOR, image_columns
from eah_vllm.sinks import causal_attention_rows, choose_source_head, count_sinks, mean_attention_received
from eah_vllm.spans import ImageSpan
from tests import naive
from tests.unit.attention_cases import AttentionCase, attention_cases, largest_storage_bytes, random_qkv

sink_counts = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def received_of(case: AttentionCase) -> torch.Tensor:
    return mean_attention_received(
        case.query, case.key, torch.tensor(case.columns), case.scale, rows_per_block=case.rows_per_block
    )


def choose(sinks: list[int], rule: str | int = "auto", num_columns: int = 6, **options: float) -> tuple[int, bool]:
    head, applies = choose_source_head(torch.tensor(sinks), num_columns, rule, **options)  # type: ignore[arg-type]
    assert head.dtype == torch.int64
    assert head.dim() == 0
    assert applies.dtype == torch.bool
    assert applies.dim() == 0
    return int(head), bool(applies)


# Mean attention received


@given(attention_cases())
def test_mean_attention_received_is_the_naive_mean(case: AttentionCase) -> None:
    received = received_of(case)
    expected = naive.mean_attention_received(case.query, case.key, case.columns, case.scale)
    assert received.dtype == torch.float32
    # The same tolerance for half precision inputs: the statistics are float32 whatever the engine computes in.
    torch.testing.assert_close(received.double(), expected, atol=2e-6, rtol=2e-5)


@given(attention_cases(), st.data())
def test_a_given_divisor_replaces_the_number_of_later_rows(case: AttentionCase, data: st.DataObject) -> None:
    divisors = data.draw(
        st.lists(st.integers(-2, 20), min_size=len(case.columns), max_size=len(case.columns)), label="divisors"
    )
    received = mean_attention_received(
        case.query,
        case.key,
        torch.tensor(case.columns),
        case.scale,
        divisor=torch.tensor(divisors),
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
    theirs = mean_attention_received(query, key, columns, 0.5, divisor=647 - columns)
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


# Sink counts


def test_a_column_at_the_threshold_is_no_sink() -> None:
    """`m > threshold`, strictly. 0.25 and 0.5 are exact in float32."""
    received = torch.tensor([[0.25, 0.5, 0.125], [0.25, 0.25, 0.0], [0.5, 0.5, 0.5]])
    sinks = count_sinks(received, 0.25)
    assert sinks.dtype == torch.int64
    assert sinks.tolist() == [1, 0, 3]


@given(attention_cases(), st.floats(0.01, 0.9))
def test_sinks_and_source_head_are_the_naive_ones(case: AttentionCase, threshold: float) -> None:
    expected = naive.mean_attention_received(case.query, case.key, case.columns, case.scale)
    # Rounding decides on columns this near to the threshold; neither side is wrong there.
    assume(float((expected - threshold).abs().min()) > 1e-5)
    sinks = count_sinks(received_of(case), threshold)
    expected_sinks = naive.count_sinks(expected, threshold)
    assert sinks.tolist() == expected_sinks
    assert choose(sinks.tolist(), num_columns=len(case.columns)) == (
        naive.densest_head(expected_sinks),
        max(expected_sinks) > 0,
    )


# Source head


@given(sink_counts)
def test_auto_takes_the_lowest_of_the_densest_heads(sinks: list[int]) -> None:
    assert choose(sinks) == (naive.densest_head(sinks), max(sinks) > 0)


@given(sink_counts)
def test_sparsest_takes_the_lowest_of_the_sparsest_heads_if_any_head_has_a_sink(sinks: list[int]) -> None:
    head, applies = choose(sinks, "sparsest")
    assert head == naive.sparsest_head(sinks)
    assert applies == (max(sinks) > 0)


@given(sink_counts, st.data())
def test_a_fixed_head_is_always_used(sinks: list[int], data: st.DataObject) -> None:
    fixed = data.draw(st.integers(0, len(sinks) - 1), label="head")
    assert choose(sinks, fixed, min_density=1.0) == (fixed, True)


@given(sink_counts, st.integers(0, 2**63 - 1))
def test_random_depends_on_the_seed_only(sinks: list[int], seed: int) -> None:
    """The same head on every rank and after preemption."""
    head, _ = choose(sinks, "random", random_seed=seed)
    assert 0 <= head < len(sinks)
    assert choose(list(reversed(sinks)), "random", random_seed=seed)[0] == head


@given(sink_counts, st.sampled_from(["sparsest", "random"]))
def test_min_density_does_not_hold_back_a_control(sinks: list[int], rule: str) -> None:
    """A control must be applied where EAH is, or the comparison is between two sets of requests."""
    assert choose(sinks, rule, min_density=1.0)[1] == (max(sinks) > 0)


def test_random_reaches_every_head() -> None:
    heads = {choose([1] * 8, "random", random_seed=seed)[0] for seed in range(300)}
    assert heads == set(range(8))


@given(sink_counts, st.integers(0, 6))
def test_min_density_is_the_least_density_that_is_applied(sinks: list[int], least: int) -> None:
    num_columns = 6
    _, applies = choose(sinks, num_columns=num_columns, min_density=least / num_columns)
    assert applies == (max(sinks) > 0 and max(sinks) >= least)


@given(st.integers(1, 3000), st.data())
def test_a_density_that_equals_min_density_meets_it(num_columns: int, data: st.DataObject) -> None:
    """`density` of a report, given back as `min_density`, must apply: k / n * n is not always k in floating point."""
    sinks = data.draw(st.integers(1, num_columns), label="sinks")
    assert choose([sinks, 0], num_columns=num_columns, min_density=sinks / num_columns) == (0, True)
    if sinks < num_columns:
        assert choose([sinks, 0], num_columns=num_columns, min_density=(sinks + 1) / num_columns) == (0, False)


def test_the_released_code_never_broadcasts_head_zero() -> None:
    """`if k > 0` in `atten_process_cal`: nothing happens when head 0 is densest, ties included."""
    assert choose([5, 5, 1], head_zero_wins=False)[1] is False
    assert choose([4, 5, 1], head_zero_wins=False) == (1, True)
    assert choose([5, 5, 1]) == (0, True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_tokens", [624, 648, 700])
def test_the_preset_released_code_chooses_what_the_released_code_chooses(num_tokens: int, seed: int) -> None:
    """LLaVA-1.5's span and thresholds; at 624 and 700 tokens their divisor is not the number of later rows."""
    query, key, _ = random_qkv(seed, num_tokens, num_heads=6, num_kv_heads=6, head_dim=2)
    columns = torch.tensor(image_columns([ImageSpan(35, 611)], drop_first=True))
    assert columns.tolist() == list(range(36, 611))

    received = mean_attention_received(query, key, columns, 1.0, divisor=RELEASED_CODE_DIVISOR - columns)
    head, applies = choose_source_head(count_sinks(received, 0.0008), len(columns), "auto", head_zero_wins=False)
    expected = naive.released_code_source_head(causal_attention_rows(query, key, 0, 1.0))
    assert (int(head) if applies else None) == expected
