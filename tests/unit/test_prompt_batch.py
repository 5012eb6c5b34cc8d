"""A step's prompts together: each as if alone, on CPUs and through the GPU kernels, on one rank and on two."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eah_vllm.method.attention import broadcast_attention
from eah_vllm.method.eah import columns_of
from tests import naive
from tests.unit.attention_cases import random_qkv
from tests.unit.prompt_batch_case import HEAD_DIM, HEADS, KV_HEADS, LENGTHS, SCALE, prompts, run
from tests.unit.test_triton_kernels import child

APPLIED = [True, True, True, False, True, True]


@pytest.fixture(scope="module", params=["torch", "triton"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "torch":
        return run()
    return child("prompt_batch_case", tmp_path_factory.mktemp("batch") / "result", TRITON_INTERPRET="1")


def test_each_prompt_has_its_own_head(result: Any) -> None:
    query, key, _ = random_qkv(4, sum(LENGTHS) + len(LENGTHS) + 1, HEADS, KV_HEADS, HEAD_DIM)
    batch = prompts()
    for piece, columns, (head, sinks, most, broadcast) in zip(
        batch.parts, columns_of(batch), result["choices"].tolist(), strict=True
    ):
        settings, divisors = piece.state.settings, None
        if settings.divisor is not None:
            divisors = [647 - column for column in columns]
        received = naive.mean_attention_received(query[piece.rows], key[piece.rows], columns, SCALE, divisors)
        counts = naive.count_sinks(received, settings.sink_threshold(piece.num_rows))
        assert (sinks, most) == (counts[head], max(counts))
        if settings.head in ("auto", "sparsest"):
            rule = naive.densest_head if settings.head == "auto" else naive.sparsest_head
            assert head == rule(counts)
        assert bool(broadcast) == APPLIED[piece.batch_idx] or not settings.head_zero_wins
    assert len({head for head, *_ in result["choices"].tolist()}) > 2, "one head for all would pass for any mix-up"


def test_only_the_prompts_that_say_so_are_overwritten(result: Any) -> None:
    query, key, value = random_qkv(4, sum(LENGTHS) + len(LENGTHS) + 1, HEADS, KV_HEADS, HEAD_DIM)
    expected = torch.full_like(result["output"], 7.0)
    for piece, (head, _, _, broadcast) in zip(prompts().parts, result["choices"].tolist(), strict=True):
        if broadcast:
            source = query[piece.rows, head], key[piece.rows, head // (HEADS // KV_HEADS)]
            expected[piece.rows] = broadcast_attention(*source, value[piece.rows], HEADS, SCALE)
    torch.testing.assert_close(result["output"], expected, atol=2e-5, rtol=2e-5)
    assert (result["output"] == 7.0).all(dim=(1, 2)).sum() >= len(LENGTHS) + 1 + LENGTHS[3]


def test_a_picture_of_one_token_leaves_the_released_code_no_column(result: Any) -> None:
    """It finds no sink; a fixed head is broadcast all the same, as with any picture."""
    expected = torch.tensor([[0, 0, 0, False], [5, 0, 0, True]])
    alone, mixed = result["one-token choices"]
    assert torch.equal(alone, expected)
    assert torch.equal(mixed, torch.cat([expected, result["choices"]]))
    changed = (result["one-token output"] != 7.0).all(dim=(1, 2))
    assert changed.nonzero().flatten().tolist() == list(range(12, 24))


def test_two_ranks_do_what_one_does(result: Any) -> None:
    for choices in result["rank choices"]:
        assert torch.equal(choices, result["choices"])
    torch.testing.assert_close(result["rank output"], result["output"], atol=2e-5, rtol=2e-5)
