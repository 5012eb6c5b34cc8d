"""The one place that decides between Triton's kernels (GPUs) and blocked torch (CPUs), for all prompts of a step."""

import os
from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from eah_vllm.kernels.packed import on_device
from eah_vllm.kernels.tables import PromptTables, prompt_tables
from eah_vllm.method.attention import broadcast_attention
from eah_vllm.method.base import Parts, Prompt
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.sinks import attention_received as attention_received_in_torch


def attention_received(
    prompts: Parts[Prompt], columns: Sequence[Sequence[int]], query: Tensor, key: Tensor, scale: float
) -> Tensor:
    """Compute the attention that columns receive from later rows, for each whole prompt.

    Args:
        prompts: whole prompts among the rows of the step.
        columns: prompt positions of each prompt's image tokens, ascending.
        query: `[tokens, local heads, head_dim]` of the whole step.
        key: `[tokens, local kv heads, head_dim]` of the whole step.
        scale: factor on the scores before the softmax.

    Returns:
        The sums, float32 `[local heads, total columns]`, prompt after prompt.
    """
    if not runs_triton(query.device):
        # Without a dtype, torch would make floats of an empty list.
        tensors = [torch.tensor(positions, dtype=torch.int64) for positions in columns]
        pairs = zip(prompts.parts, tensors, strict=True)
        sums = [attention_received_in_torch(query[p.rows], key[p.rows], c, scale) for p, c in pairs]
        return sums[0] if len(sums) == 1 else torch.cat(sums, dim=1)
    from eah_vllm.kernels import launch  # imported here, since V1 machines may lack Triton

    return launch.attention_received(query, key, _tables(prompts, columns, query.device), scale)


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
        source_query, source_key = shards.take_heads(query, key, prompt_of_row(prompts, query), sources)
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


def prompt_of_row(prompts: Parts[Prompt], query: Tensor) -> Tensor:
    """Return the index of each token's prompt, int64 `[tokens]`; the number of prompts for a token of none."""
    found: Tensor | None = prompts.memo.get("prompt of row")
    if found is None:
        numbers = array("q", [len(prompts.parts)]) * len(query)
        for idx, part in enumerate(prompts.parts):
            numbers[part.rows] = array("q", [idx]) * part.num_rows
        (found,) = on_device([numbers], query.device)
        prompts.memo["prompt of row"] = found
    return found


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
