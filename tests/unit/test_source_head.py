"""The choice of the source head: every rule, its ties, and what the released code would choose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eah_vllm.kernels.packed import on_device
from eah_vllm.method.sinks import causal_attention_rows, count_sinks
from eah_vllm.method.source_head import Choices, choice_of, choose_source_heads
from eah_vllm.method.spans import ImageSpan, image_columns
from eah_vllm.settings import RELEASED_CODE_DIVISOR
from tests import naive
from tests.unit.attention_cases import mean_attention_received, random_qkv

sink_counts = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def choose(sinks: list[int], rule: str | int = "auto", image_tokens: int = 6, **options: Any) -> tuple[int, bool]:
    """The choice of one prompt, which has a neighbour in the same step."""
    num_heads = len(sinks)
    rules = [choice_of(rule, image_tokens, num_heads, **options), choice_of(0, image_tokens, num_heads)]
    tables = Choices(*on_device(Choices.arrays(rules, num_heads), "cpu"))
    (head, of_head, most, applies), neighbour = choose_source_heads(torch.tensor([sinks, sinks]), tables).tolist()
    assert (of_head, most) == (sinks[head], max(sinks))
    assert neighbour == [0, sinks[0], max(sinks), 1]
    return head, bool(applies)


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
    image_tokens = 6
    _, applies = choose(sinks, image_tokens=image_tokens, min_density=least / image_tokens)
    assert applies == (max(sinks) > 0 and max(sinks) >= least)


@given(st.integers(1, 3000), st.data())
def test_a_density_that_equals_min_density_meets_it(image_tokens: int, data: st.DataObject) -> None:
    """`density` of a report, given back as `min_density`, must apply: k / n * n is not always k in floating point."""
    sinks = data.draw(st.integers(1, image_tokens), label="sinks")
    assert choose([sinks, 0], image_tokens=image_tokens, min_density=sinks / image_tokens) == (0, True)
    if sinks < image_tokens:
        assert choose([sinks, 0], image_tokens=image_tokens, min_density=(sinks + 1) / image_tokens) == (0, False)


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

    received = mean_attention_received(query, key, columns, 1.0, divisor=RELEASED_CODE_DIVISOR)
    counts = count_sinks(received, 0.0008).tolist()
    head, applies = choose(counts, image_tokens=len(columns), head_zero_wins=False)
    expected = naive.released_code_source_head(causal_attention_rows(query, key, 0, 1.0))
    assert (head if applies else None) == expected
