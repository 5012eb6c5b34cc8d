"""The one place that decides between Triton's kernels (GPUs) and blocked torch (CPUs), for all prompts of a step."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from eah_vllm.kernels.tables import PromptTables, prompt_tables
from eah_vllm.method.attention import broadcast_attention
from eah_vllm.method.base import Parts, Prompt
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.sinks import attention_received as attention_received_in_torch


def attention_received(
    prompts: Parts[Prompt], columns: Sequence[Sequence[int]], query: Tensor, key: Tensor, scale: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the attention that columns receive from later rows, for each whole prompt.

    Args:
        prompts: whole prompts among the rows of the step.
        columns: prompt positions of each prompt's image tokens, ascending.
        query: `[tokens, local heads, head_dim]` of the whole step.
        key: `[tokens, local kv heads, head_dim]` of the whole step.
        scale: factor on the scores before the softmax.

    Returns:
        For each prompt its columns, int64 `[num_columns]`, and the sums, float32 `[local heads, num_columns]`.
    """
    if not runs_triton(query.device):
        # Without a dtype, torch would make floats of an empty list.
        tensors = [torch.tensor(positions, dtype=torch.int64) for positions in columns]
        pairs = zip(prompts.parts, tensors, strict=True)
        return tensors, [attention_received_in_torch(query[p.rows], key[p.rows], c, scale) for p, c in pairs]
    from eah_vllm.kernels import launch  # imported here, since V1 machines may lack Triton

    tables, sizes = _tables(prompts, columns, query.device), [len(positions) for positions in columns]
    received = launch.attention_received(query, key, tables, scale)
    return list(tables.columns.long().split(sizes)), list(received.split(sizes, dim=1))


def broadcast(
    prompts: Parts[Prompt],
    columns: Sequence[Sequence[int]],
    choices: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    scale: float,
    shards: HeadShards,
) -> None:
    """Overwrite each prompt's rows of `output` with the source head's map times each head's own values.

    Args:
        prompts: whole prompts among the rows of the step.
        columns: as for `attention_received`; both use the same tables on the device.
        choices: int64 `[prompts, 4]`, see `EAH.choose`; a prompt that is not to be changed keeps its rows.
        query: queries of the step, `[tokens, local heads, head_dim]`.
        key: keys of the step, `[tokens, local kv heads, head_dim]`.
        value: values of the step, `[tokens, local kv heads, head_dim]`.
        output: ordinary attention's output, `[tokens, local heads, head_dim]`.
        scale: factor on the scores before the softmax.
        shards: where the layer's other heads are.
    """
    group, sources = query.shape[1] // key.shape[1], choices[:, 0]
    if shards.num_ranks > 1:
        rows = [part.rows for part in prompts.parts]
        source_query, source_key = shards.take_heads(query, key, rows, list(sources))
        query, key, sources = source_query[:, None], source_key[:, None], torch.zeros_like(sources)
    if not runs_triton(query.device):
        for part, head, applies in zip(prompts.parts, sources.tolist(), choices[:, 3].tolist(), strict=True):
            if applies:
                prompt = query[part.rows, head], key[part.rows, head // group], value[part.rows]
                broadcast_attention(*prompt, output.shape[1], scale, output=output[part.rows])
        return
    from eah_vllm.kernels import launch

    kv_heads = torch.div(sources, group, rounding_mode="floor")
    tables = _tables(prompts, columns, query.device)
    launch.broadcast_rows(query, key, sources, kv_heads, value, choices[:, 3].bool(), output, tables, scale)


def _tables(prompts: Parts[Prompt], columns: Sequence[Sequence[int]], device: torch.device) -> PromptTables:
    tables: PromptTables | None = prompts.memo.get("tables")
    if tables is None:  # once per step, for all layers
        starts = [part.row_start for part in prompts.parts]
        lengths = [part.num_rows for part in prompts.parts]
        tables = prompts.memo["tables"] = prompt_tables(starts, lengths, columns, device)
    return tables


def compile_kernels(
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, scale: float, shards: HeadShards
) -> None:
    """Run the GPU kernels on one token and change nothing: later steps find them compiled for these dtypes and strides.

    The arguments are those of `broadcast`. Where tensors stay in torch, there is nothing to compile.
    """
    if not runs_triton(query.device):
        return
    from eah_vllm.kernels import launch

    prompts, head = prompt_tables([0], [1], [[0]], query.device), torch.zeros(1, dtype=torch.int64, device=query.device)
    launch.attention_received(query, key, prompts, scale)
    if shards.num_ranks > 1:  # these are the strides of what `HeadShards.take_heads` returns
        query = key = query.new_zeros(1, 2 * query.shape[2])[:, None, : query.shape[2]]
    launch.broadcast_rows(query, key, head, head, value, head.bool(), output, prompts, scale)


def runs_triton(device: torch.device) -> bool:
    """Whether tensors on this device go to the Triton kernels: on GPUs, and on CPUs under Triton's interpreter."""
    return device.type != "cpu" or os.environ.get("TRITON_INTERPRET") == "1"
