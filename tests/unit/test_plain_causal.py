"""Which of vLLM's own attention layers EAH can change, and why not the others; no engine is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from vllm.config import ModelConfig, VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.attention import Attention, EncoderOnlyAttention
from vllm.model_executor.layers.attention.chunked_local_attention import ChunkedLocalAttention
from vllm.model_executor.layers.attention.cross_attention import CrossAttention
from vllm.model_executor.layers.attention.prefill_prefix_lm_attention import PrefillPrefixLMAttention
from vllm.model_executor.layers.attention.rswa_attention import RSWAAttention
from vllm.model_executor.layers.attention.static_sink_attention import StaticSinkAttention
from vllm.v1.attention.backend import AttentionType

from eah_vllm.engine.plain_causal import KINDS, why_not_plain_causal
from tests.checkpoints import make_llava

SIZES: dict[str, Any] = {"num_heads": 8, "head_size": 32, "scale": 32**-0.5, "num_kv_heads": 2, "prefix": "layers.1.a"}


@pytest.fixture(scope="module")
def model_config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    return ModelConfig(str(make_llava(tmp_path_factory.mktemp("checkpoint"))), dtype="float32")


@pytest.fixture(autouse=True)
def _while_a_model_is_built(model_config: ModelConfig) -> Iterator[None]:
    with set_current_vllm_config(VllmConfig(model_config=model_config)):
        yield


def test_plain_attention_can_be_changed() -> None:
    assert why_not_plain_causal(Attention(**SIZES)) is None


LAYERS: dict[str, Callable[[], Attention]] = {
    "sliding window": lambda: Attention(**SIZES, per_layer_sliding_window=16),
    "soft cap": lambda: Attention(**SIZES, logits_soft_cap=30.0),
    "ALiBi": lambda: Attention(**SIZES, alibi_slopes=[2.0**-idx for idx in range(1, 9)]),
    "learned sinks": lambda: Attention(**SIZES, sinks=torch.zeros(8)),
    "keys and values of another layer": lambda: Attention(
        **SIZES | {"prefix": "layers.2.a"}, kv_sharing_target_layer_name="layers.1.a"
    ),
    "values of another size than keys": lambda: Attention(**SIZES, head_size_v=16),
    f"attention of type {AttentionType.ENCODER_ONLY}": lambda: Attention(**SIZES, attn_type=AttentionType.ENCODER_ONLY),
    "encoder attention": lambda: EncoderOnlyAttention(**SIZES),
    "chunked-local attention": lambda: ChunkedLocalAttention(attention_chunk_size=16, **SIZES),
    "cross attention": lambda: CrossAttention(**SIZES),
    "the prompt attends both ways": lambda: PrefillPrefixLMAttention(**SIZES),
}


# vLLM has a class for these two, and an argument of its plain class too.
IN_ANOTHER_WAY: dict[str, Callable[[], Attention]] = {
    "sliding window": lambda: RSWAAttention(rswa_window=16, **SIZES),
    "learned sinks": lambda: StaticSinkAttention(sink_len=4, **SIZES),
}


@pytest.mark.parametrize("why", list(IN_ANOTHER_WAY))
def test_a_class_of_its_own_is_seen_too(why: str) -> None:
    assert why_not_plain_causal(IN_ANOTHER_WAY[why]()) == why


@pytest.mark.parametrize("why", list(LAYERS))
def test_what_a_layer_has_is_said(why: str) -> None:
    if why.startswith("keys"):
        Attention(**SIZES)
    assert why_not_plain_causal(LAYERS[why]()) == why


def test_every_kind_that_is_named_is_vllms() -> None:
    kinds = (
        ChunkedLocalAttention, CrossAttention, EncoderOnlyAttention, PrefillPrefixLMAttention, RSWAAttention,
        StaticSinkAttention,
    )  # fmt: skip
    assert {kind.__name__ for kind in kinds} == set(KINDS)
    assert all(issubclass(kind, Attention) for kind in kinds)
