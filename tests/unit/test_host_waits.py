"""The choice of source heads never asks the device for a value: fake tensors have none to give (decision 0011)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from eah_vllm.method.eah import EAH
from eah_vllm.method.shards import HeadShards
from tests.unit.prompt_batch_case import HEAD_DIM, HEADS, KV_HEADS, LENGTHS, layer_step, prompts

ROWS = sum(LENGTHS) + len(LENGTHS) + 1


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode() as mode:
        yield mode


def test_every_head_rule_and_preset_is_decided_on_the_device(fake: FakeTensorMode) -> None:
    query, key = torch.empty(ROWS, HEADS, HEAD_DIM), torch.empty(ROWS, KV_HEADS, HEAD_DIM)
    for ranks in (1, 2):
        shards = HeadShards(0, ranks, lambda local: local.clone())
        local = query[:, : HEADS // ranks], key[:, : KV_HEADS // ranks]
        at = layer_step(*local, value=local[1], output=local[0], shards=shards)
        assert EAH().choose(at, prompts()).shape == (len(LENGTHS), 4)


def test_a_look_at_a_value_would_be_seen(fake: FakeTensorMode) -> None:
    sinks, head = torch.zeros(8, dtype=torch.int64), torch.zeros((), dtype=torch.int64)
    with pytest.raises(DataDependentOutputException):
        sinks[head]
