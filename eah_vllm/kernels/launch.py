# Triton's functions have no types that mypy knows.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

"""EAH on GPUs: the attention that image tokens receive, and one head's map for all heads, of every prompt of a step.

One launch covers all prompts of a step ("varlen"). Nothing of size `[S, S]` is stored: attention is computed tile by
tile, as in FlashAttention (arXiv 2205.14135), and a column is summed with the help of each row's log-sum-exp, as in
FlashAttention's backward pass. Source head and decision stay on the device; nothing here waits for it.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from eah_vllm.kernels.programs import column_sums, mix_values, row_log_sum_exp
from eah_vllm.kernels.tables import COLUMNS_PER_BLOCK, ROWS_PER_BLOCK, PromptTables, prompt_tables

__all__ = ["PromptTables", "attention_received", "broadcast_rows", "prompt_tables"]

VALUES_PER_BLOCK = 256
"""How many numbers of a token, with all value heads side by side, one program of the broadcast mixes."""
LOG2_E = 1.4426950408889634
"""`exp(x) = exp2(x * LOG2_E)`; GPUs have an instruction for `exp2`."""


def _options(query: Tensor) -> dict[str, Any]:
    """Return tile sizes and launch options; two stages of a tile must fit into shared memory (64 KiB on an MI300)."""
    head_dim, half = query.shape[2], query.dtype.itemsize == 2
    return {
        "HEAD_DIM": head_dim,
        "PADDED_DIM": max(16, triton.next_power_of_2(head_dim)),
        "ROWS": ROWS_PER_BLOCK,
        "COLUMNS": 64 if half and head_dim <= 128 else 32,
        # NumPy, which the interpreter uses, has no bfloat16: it would multiply the bit patterns as integers.
        "UPCAST": triton.knobs.runtime.interpret and query.dtype == torch.bfloat16,
        "num_warps": 4 if half else 8,
        "num_stages": 2,
        "enable_fp_fusion": True,
    }


def attention_received(query: Tensor, key: Tensor, prompts: PromptTables, scale: float) -> Tensor:
    """Compute the attention that image tokens receive from later rows: `sum over r > c of A[h, r, c]`.

    `A` is the attention map of head h, after the causal softmax.

    Args:
        query: `[tokens, num_heads, head_dim]` of the step's batch, after rotary embedding; the last dimension is
            contiguous. Rows that belong to no prompt of `prompts` are not read.
        key: `[tokens, num_kv_heads, head_dim]`, in `query`'s dtype.
        prompts: tables of the step's whole prompts.
        scale: positive factor on the scores before the softmax.

    Returns:
        float32 `[num_heads, total columns]`, in the order of `prompts.columns`; 0 in a prompt's last row.
    """
    (num_tokens, num_heads, _), num_columns = query.shape, len(prompts.columns)
    assert query.stride(2) == key.stride(2) == 1
    assert query.dtype == key.dtype
    statistics = query.new_empty(num_heads, num_tokens, dtype=torch.float32)
    received = query.new_empty(num_heads, num_columns, dtype=torch.float32)
    if num_columns == 0:
        return received
    scale *= LOG2_E
    strides = (query.stride(0), query.stride(1), key.stride(0), key.stride(1))
    options = _options(query) | {"GROUP": num_heads // key.shape[1]}
    where = (prompts.row_start, prompts.length)
    row_log_sum_exp[len(prompts.row_blocks), num_heads](
        query, key, statistics, *where, prompts.row_blocks, scale, num_tokens, *strides, **options
    )
    options |= {"ROWS": options["COLUMNS"], "COLUMNS": COLUMNS_PER_BLOCK}
    column_sums[len(prompts.column_blocks), num_heads](
        query, key, statistics, received, *where, prompts.columns, prompts.column_blocks, scale,
        num_tokens, num_columns, *strides, **options,
    )  # fmt: skip
    return received


def broadcast_rows(
    query: Tensor,
    key: Tensor,
    query_head: Tensor,
    key_head: Tensor,
    value: Tensor,
    broadcast: Tensor,
    output: Tensor,
    prompts: PromptTables,
    scale: float,
) -> None:
    """Overwrite prompts: `output[rows, j] = A[source] @ V[j]` for every head j, where `broadcast` says so.

    A head's values are mixed once and written for its whole group. Other rows of `output` are left alone.

    Args:
        query: `[tokens, query heads, head_dim]`; the source head's alone will do, with 0 as `query_head`.
        key: `[key tokens, key heads, head_dim]`, in `query`'s dtype; a token's row is that of `prompts.key_start`.
        query_head: int64 `[prompts]`, each prompt's source head in `query`.
        key_head: int64 `[prompts]`, its group in `key`.
        value: `[key tokens, num_kv_heads, value_dim]`; head j uses group `j // (num_heads / num_kv_heads)`.
        broadcast: bool `[prompts]`; like the others, on the device.
        output: `[tokens, num_heads, value_dim]`. The last dimension of every matrix is contiguous.
        prompts: tables of the step's whole prompts.
        scale: positive factor on the scores before the softmax.
    """
    num_kv_heads, value_dim = value.shape[1:]
    assert query.stride(2) == key.stride(2) == value.stride(2) == output.stride(2) == 1
    assert query.dtype == key.dtype
    all_values = num_kv_heads * value_dim
    width = min(VALUES_PER_BLOCK, max(16, triton.next_power_of_2(all_values)))
    strides = [stride for matrix in (query, key, value, output) for stride in matrix.stride()[:2]]
    where = prompts.row_start, prompts.key_start, prompts.length, prompts.row_blocks
    per_prompt = [tensor.contiguous() for tensor in (query_head, key_head, broadcast)]
    mix_values[len(prompts.row_blocks), triton.cdiv(all_values, width)](
        query, key, *per_prompt, value, output, *where, scale * LOG2_E, *strides,
        GROUP=output.shape[1] // num_kv_heads, VALUE_DIM=value_dim, ALL_VALUES=all_values, WIDTH=width,
        **_options(query) | ({"num_warps": 8} if width > 128 else {}),
    )  # fmt: skip
