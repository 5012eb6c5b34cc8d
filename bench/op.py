"""Op level: times one layer's EAH for one prompt, the naive reference, and one ordinary fused attention call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.naive import naive_bytes, naive_eah
from bench.results import Part, rotated, say
from eah_vllm.kernels.packed import on_device
from eah_vllm.method.attention import broadcast_attention
from eah_vllm.method.sinks import ColumnTables, attention_received, count_sinks_of_prompts
from eah_vllm.method.source_head import Choices, choice_of, choose_source_heads

HEAD_DIM = 128
SCALE = HEAD_DIM**-0.5
THRESHOLD = 0.002
HEADS = {"mha": (32, 32), "gqa": (28, 4)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LENGTHS = (648, 1024, 2048, 4096)
FIRST_COLUMN, NUM_COLUMNS = 35, 576
MIN_SECONDS = 0.02
"""Least seconds of a measurement: a shorter function is called several times."""


def inputs(num_tokens: int, heads: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make query, key and value `[S, heads, head_dim]`, as views of one projection as in the engine; image columns."""
    num_heads, num_kv_heads = heads
    generator = torch.Generator().manual_seed(num_tokens)
    fused = torch.randn(num_tokens, num_heads + 2 * num_kv_heads, HEAD_DIM, generator=generator).to(dtype)
    query, key, value = fused.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return query, key, value, torch.arange(FIRST_COLUMN, FIRST_COLUMN + NUM_COLUMNS)


def choose(query: Tensor, key: Tensor, columns: Tensor) -> Tensor:
    """Choose the source head of a prompt."""
    num_tokens, num_heads = query.shape[:2]
    tables = ColumnTables.arrays([columns.tolist()], [num_tokens - 1], [THRESHOLD])
    rule = choice_of("auto", len(columns), num_heads)
    found = on_device([*tables, *Choices.arrays([rule], num_heads)], query.device)
    of_columns, choices = ColumnTables(*found[: len(tables)]), Choices(*found[len(tables) :])
    counts = count_sinks_of_prompts(attention_received(query, key, columns, SCALE), of_columns, 1)
    return choose_source_heads(counts, choices)[0, 0]


def broadcast(query: Tensor, key: Tensor, value: Tensor, source: int, output: Tensor | None = None) -> Tensor:
    """Compute every head's output with the source head's map; the engine gives the tensor to write it into."""
    group = query.shape[1] // key.shape[1]
    source_query, source_key = query[:, source], key[:, source // group]
    return broadcast_attention(source_query, source_key, value, query.shape[1], SCALE, output=output)


def both(query: Tensor, key: Tensor, value: Tensor, columns: Tensor, output: Tensor | None = None) -> Tensor:
    """Do all that EAH does in a layer: choose the source head and broadcast its map."""
    return broadcast(query, key, value, int(choose(query, key, columns)), output)


def candidates(num_tokens: int, heads: str, dtype: str) -> dict[str, Callable[[], Any]]:
    """Return the functions to time; the fused call gets tensors `[1, heads, S, head_dim]`, with a key for each head."""
    query, key, value, columns = inputs(num_tokens, HEADS[heads], DTYPES[dtype])
    group = query.shape[1] // key.shape[1]
    fused = [query, *(tensor.repeat_interleave(group, dim=1) for tensor in (key, value))]
    q, k, v = (tensor.transpose(0, 1)[None].contiguous() for tensor in fused)
    timed: dict[str, Callable[[], Any]] = {
        "choose": lambda: choose(query, key, columns),
        "broadcast": lambda: broadcast(query, key, value, 3),
        "both": lambda: both(query, key, value, columns),
        "fused": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    if naive_bytes(num_tokens, query.shape[1]) < 0.8 * psutil.virtual_memory().available:
        timed["naive"] = lambda: naive_eah(query, key, value, columns, SCALE, THRESHOLD)
    return timed


def seconds(function: Callable[[], Any]) -> float:
    """Return the seconds of one call: the mean over enough calls to be measurable."""
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < MIN_SECONDS:
        function()
        calls += 1
    return passed / calls


def measure(rounds: int, part: Part, lengths: tuple[int, ...] = LENGTHS) -> None:
    """Measure rounds of all candidates for every shape and dtype, in rotating order."""
    with torch.inference_mode():
        for heads in HEADS:
            for dtype in DTYPES:
                for num_tokens in lengths:
                    _measure(f"{heads}_{dtype}_s{num_tokens}", candidates(num_tokens, heads, dtype), rounds, part)
    _figures(part)


def _measure(group: str, timed: dict[str, Callable[[], Any]], rounds: int, part: Part) -> None:
    for round_idx in range(-1, rounds):  # the first round warms up and is not kept
        row: dict[str, Any] = {name: seconds(timed[name]) for name in rotated(list(timed), round_idx)}
        if round_idx >= 0:
            part.add_round(group, row)
    say(f"op {group}: " + ", ".join(f"{name} {1000 * row[name]:.1f} ms" for name in timed))


def _figures(part: Part) -> None:
    for group, rows in part.rounds.items():
        if "fused" not in rows[0]:
            continue
        part.figure(f"op_over_fused_{group}", group, lambda row: row["both"] / row["fused"])
        if all("naive" in row for row in rows):
            part.figure(f"op_speedup_over_naive_{group}", group, lambda row: row["naive"] / row["both"])
    # The figures that have bars: 32 heads, in the dtype that is worst for us.
    for name in ("op_over_fused", "op_speedup_over_naive"):
        for num_tokens in (648, 2048):
            seen = [part.figures.get(f"{name}_mha_{dtype}_s{num_tokens}") for dtype in DTYPES]
            found = [figure for figure in seen if figure is not None]
            if found:
                worst = max if name == "op_over_fused" else min
                part.figures[f"{name}_s{num_tokens}"] = worst(found, key=lambda figure: figure["median"])
