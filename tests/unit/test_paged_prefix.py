"""`prefix_reuse` on GPUs: rows after a cached prefix, on a pretended GPU and in vLLM's CPU kernel.

No GPU has run this: Triton's interpreter has, on caches in both orders of memory, filled by vLLM's own Triton kernel.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eah_vllm.engine.refusals import refuse_unreadable_cache
from eah_vllm.method.attention import broadcast_attention
from tests.unit.paged_prefix_case import HEADS, KV_HEADS, ON_ONE_RANK, PROMPTS, RECORDED, SCALE, prompts, whole_prompts
from tests.unit.test_triton_kernels import TOLERANCE, child

DTYPES = [torch.float32, torch.bfloat16]
ON_GPU = [f"{layout} {dtype}" for layout, dtype in ON_ONE_RANK] + ["ranks torch.float32"]
APPLIED = [True, True, True, True, False, False]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What ran where; if anything had waited for the GPU, it would have raised."""
    return child("paged_prefix_case", tmp_path_factory.mktemp("prefix") / "result", TRITON_INTERPRET="1")


def dtype_of(where: str) -> torch.dtype:
    return torch.bfloat16 if where.endswith("bfloat16") else torch.float32


@pytest.mark.parametrize("where", ON_GPU)
def test_the_gpu_chooses_what_the_cpu_chooses(where: str, result: Any) -> None:
    expected = result[f"cpu {dtype_of(where)}"]
    found = result[where]["choices"]
    for choices in found if isinstance(found, list) else [found]:
        assert torch.equal(choices, expected["choices"])
    assert result[where]["reasons"] == expected["reasons"] == [None, None, None, None, "prefix_cached", None]
    first, second, third, *others = expected["choices"].tolist()
    assert first[3:] == [1, 0]
    assert second == third == [*first[:4], 1], "they use what the first has recorded in this step"
    assert others == [RECORDED["long"], [0] * 5, RECORDED["not applied"]]


@pytest.mark.parametrize("where", [f"cpu {dtype}" for dtype in DTYPES] + ON_GPU)
def test_rows_after_the_prefix_are_those_of_the_whole_prompt(where: str, result: Any) -> None:
    dtype, output = dtype_of(where), result[where]["output"]
    choices = result[f"cpu {dtype}"]["choices"].tolist()
    untouched = torch.ones(len(output), dtype=torch.bool)
    for part, (query, key, value), (head, *_), applied in zip(
        prompts().parts, whole_prompts(dtype), choices, APPLIED, strict=True
    ):
        if applied:
            source = query[:, head], key[:, head // (HEADS // KV_HEADS)]
            expected = broadcast_attention(*source, value, HEADS, SCALE)[part.num_cached :]
            torch.testing.assert_close(output[part.rows], expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
            untouched[part.rows] = False
    assert untouched.sum() > sum(PROMPTS[idx][1] - PROMPTS[idx][2] for idx in (4, 5))
    assert output[untouched].eq(7.0).all()


@pytest.mark.parametrize("where", ON_GPU)
def test_the_gpu_computes_what_the_cpu_kernel_computes(where: str, result: Any) -> None:
    dtype = dtype_of(where)
    tolerance = TOLERANCE[dtype]
    expected = result[f"cpu {dtype}"]["output"]
    torch.testing.assert_close(result[where]["output"], expected, atol=tolerance, rtol=tolerance)


def test_launches_do_not_grow_with_the_number_of_prefixes(result: Any) -> None:
    launched = result[ON_GPU[0]]["launched"]
    assert launched["kernel mix_values"] == 2, "whole prompts and prefixes"
    assert sum(launched.values()) <= 50


@pytest.mark.parametrize("impl", ["FlashInferImpl", "FlexAttentionImpl", "RocmAttentionImpl", "SomeOtherImpl"])
def test_caches_of_other_backends_are_refused_by_name(impl: str) -> None:
    with pytest.raises(ValueError, match=f"prefix_reuse cannot read the KV cache of {impl} in dtype auto, only"):
        refuse_unreadable_cache(impl, "auto")


@pytest.mark.parametrize("impl", ["FlashAttentionImpl", "TritonAttentionImpl", "CPUAttentionBackendImpl"])
def test_quantized_caches_are_refused_by_name(impl: str) -> None:
    for dtype in ("fp8", "fp8_e5m2", "int8_per_token_head"):
        with pytest.raises(ValueError, match=f"prefix_reuse cannot read the KV cache of {impl} in dtype {dtype}"):
            refuse_unreadable_cache(impl, dtype)
    for dtype in ("auto", "bfloat16", "float16"):
        refuse_unreadable_cache(impl, dtype)
