"""The inspector's arithmetic against plain loops, for prompts of unequal options in one step; it never waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eah_vllm.method.base import Part, Parts
from eah_vllm.method.inspect import Inspect
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import InspectOptions, OptionError
from eah_vllm.order import Order
from eah_vllm.settings import ModelShape, resolve_inspection
from eah_vllm.worker.request_state import RequestState
from tests import naive
from tests.unit.attention_cases import random_qkv
from tests.unit.prompt_batch_case import HEAD_DIM, HEADS, KV_HEADS, SCALE, layer_step

SHAPE = ModelShape(4, HEADS)
ASKED: list[dict[str, Any]] = [
    {"thresholds": [0.01, 0.05], "relative_thresholds": [1.0], "layer": 1, "head": 6},
    {"relative_thresholds": [1.5]},
    {"thresholds": [0.9], "layer": 3, "head": 0},
]
LENGTHS = (21, 9, 14)


def settings(said: dict[str, Any], **defaults: Any) -> Any:
    return resolve_inspection(InspectOptions(**said), InspectOptions(**defaults), SHAPE, "eah.")


def prompts() -> Parts[RequestState]:
    """A foreign row stands before every prompt."""
    parts, start = [], 1
    for idx, (said, length) in enumerate(zip(ASKED, LENGTHS, strict=True)):
        spans = (ImageSpan(1, 4), ImageSpan(5, length))
        state = RequestState(f"r{idx}", Order("inspect", settings(said)), length, spans)
        parts.append(Part(state, start, idx))
        start += length + 1
    return Parts(tuple(parts))


def test_counts_and_map_against_plain_loops() -> None:
    total = sum(LENGTHS) + len(LENGTHS) + 1
    query, key, value = random_qkv(3, total, HEADS, KV_HEADS, HEAD_DIM)
    output = torch.full((total, HEADS, HEAD_DIM), 7.0)
    at = layer_step(query, key, value, output, HeadShards(0, 1, lambda local: local))
    numbers = Inspect().on_prompts(at, prompts())
    assert bool((output == 7.0).all()), "it changes nothing"
    for part, said, row in zip(prompts().parts, ASKED, numbers.tolist(), strict=True):
        columns = [*range(1, 4), *range(5, part.state.prompt_length)]
        received = naive.mean_attention_received(query[part.rows], key[part.rows], columns, SCALE)
        thresholds = list(said.get("thresholds", []))
        thresholds += [value / part.state.prompt_length for value in said.get("relative_thresholds", [])]
        expected = [naive.count_sinks(received, threshold) for threshold in thresholds]
        report, reason = Inspect().explain(part.state.settings, 1, len(columns), row)
        assert reason is None
        assert report["sinks"] == [list(of_head) for of_head in zip(*expected, strict=True)]
        sources = [naive.densest_head(sinks) if any(sinks) else None for sinks in expected]
        assert report["source_head"] == sources
        if said.get("layer") == 1:
            assert report["received"] == pytest.approx(received[6].tolist(), abs=1e-6)
        else:
            assert "received" not in report
    assert report["source_head"] == [None]


def test_it_never_waits_for_the_device() -> None:
    rows = sum(LENGTHS) + len(LENGTHS) + 1
    with FakeTensorMode():
        query, key = torch.empty(rows, HEADS, HEAD_DIM), torch.empty(rows, KV_HEADS, HEAD_DIM)
        for ranks in (1, 2):
            shards = HeadShards(0, ranks, lambda local: local.clone())
            local = query[:, : HEADS // ranks], key[:, : KV_HEADS // ranks]
            at = layer_step(*local, value=local[1], output=local[0], shards=shards)
            widest = 3 * HEADS + LENGTHS[0] - 2
            assert Inspect().on_prompts(at, prompts()).shape == (len(LENGTHS), widest)


def test_options_and_defaults() -> None:
    assert settings({}).sink_thresholds(100) == [0.002], "the paper's"
    assert settings({}, relative_thresholds=[2.0]).sink_thresholds(100) == [0.02]
    both = {"thresholds": [0.5], "relative_thresholds": [1.0, 3.0]}
    assert settings(both, thresholds=[0.1]).sink_thresholds(100) == [0.5, 0.01, 0.03]
    assert settings({"thresholds": [], "relative_thresholds": [1.0]}).sink_thresholds(10) == [0.1]
    assert settings({"thresholds": []}, relative_thresholds=[2.0]).sink_thresholds(100) == [0.02]
    assert settings({}).layers == (0, 1, 2, 3)
    for said, field in (({"layer": 4, "head": 0}, "layer"), ({"layer": 0, "head": 8}, "head"), ({"layer": 1}, "head")):
        with pytest.raises(OptionError, match=f"^eah.{field}: "):
            settings(said)
