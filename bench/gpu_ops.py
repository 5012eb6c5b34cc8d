"""Compares one layer's EAH, operation by operation, with ordinary fused attention: time, memory, share of the floor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eah_vllm.kernels.launch import attention_received, broadcast_rows, prompt_tables
from eah_vllm.kernels.packed import on_device
from eah_vllm.kernels.tables import PromptTables
from eah_vllm.method import sinks
from eah_vllm.method.source_head import Choices, choice_of, choose_source_heads

THRESHOLD = 0.002
"""Mean attention above which an image token is a vision sink, as in the plugin's preset "paper"."""

PEAKS = {
    "H200": (989.0, 4.8), "H100 PCIe": (756.0, 2.0), "H100 NVL": (835.0, 3.9), "H100": (989.0, 3.35),
    "A100-SXM4-80GB": (312.0, 2.04), "A100-SXM4-40GB": (312.0, 1.56), "A100": (312.0, 1.94),
    "L40S": (362.0, 0.86), "L4": (121.0, 0.3), "A10": (125.0, 0.6), "MI300X": (1307.0, 5.3),
}  # fmt: skip
"""By part of a device's name: dense bfloat16 TFLOP/s and memory TB/s, as its maker states; the first match counts."""


class Tables(NamedTuple):
    """What a step's operations read on the device."""

    prompts: PromptTables
    columns: sinks.ColumnTables
    choices: Choices


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one step: whole prompts one after another, in all heads of one layer."""

    lengths: tuple[int, ...]
    heads: int
    kv_heads: int
    head_dim: int
    image: tuple[int, int]
    """Position of the first image token in each prompt, and one past the last."""

    def __str__(self) -> str:
        prompts = str(self.lengths[0]) if len(self.lengths) == 1 else "+".join(map(str, self.lengths))
        return f"S {prompts}, heads {self.heads}/{self.kv_heads} x {self.head_dim}"

    @property
    def row_starts(self) -> list[int]:
        """First row of each prompt."""
        return [sum(self.lengths[:i]) for i in range(len(self.lengths))]

    def rows(self) -> list[slice]:
        """Return the rows of each prompt in the step's batch."""
        return [slice(s, s + n) for s, n in zip(self.row_starts, self.lengths, strict=True)]

    def columns(self) -> list[range]:
        """Return the positions of the image tokens in each prompt."""
        return [range(*self.image)] * len(self.lengths)

    def tables(self, device: torch.device) -> Tables:
        """Return the tables that the operations read; an engine makes them once per step."""
        columns, count = self.columns(), len(self.lengths)
        prompts = prompt_tables(self.row_starts, self.lengths, columns, device)
        of_columns = sinks.ColumnTables.arrays(columns, [n - 1 for n in self.lengths], [THRESHOLD] * count)
        rule = choice_of("auto", self.image[1] - self.image[0], self.heads)
        found = on_device([*of_columns, *Choices.arrays([rule] * count, self.heads)], device)
        split = len(of_columns)
        return Tables(prompts, sinks.ColumnTables(*found[:split]), Choices(*found[split:]))

    def qkv(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Make random query, key and value `[tokens, heads, head_dim]`, as views of one projection as in an engine."""
        sizes = [self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim]
        fused = torch.randn(sum(self.lengths), sum(sizes), device=device).to(dtype)
        query, key, value = (part.unflatten(-1, (-1, self.head_dim)) for part in fused.split(sizes, dim=-1))
        return query, key, value

    def pairs(self) -> int:
        """Count the pairs of a row and a column that it sees."""
        return sum(n * (n + 1) // 2 for n in self.lengths)

    def floors(self, operation: str, itemsize: int) -> tuple[float, float] | None:
        """Return the FLOP and bytes that an operation needs at least; None for one that does more than it must."""
        tokens, multiply = sum(self.lengths), 2 * self.head_dim
        queries, keys = tokens * self.heads * self.head_dim, tokens * self.kv_heads * self.head_dim
        if operation == "fused attention":
            return 2.0 * multiply * self.pairs() * self.heads, float(itemsize * (2 * queries + 2 * keys))
        later = sum(n - 1 - c for n in self.lengths for c in range(*self.image))
        choose = float(multiply * (self.pairs() + later) * self.heads), float(itemsize * 2 * (queries + keys))
        mixed = float(multiply * self.pairs() * (1 + self.kv_heads)), float(itemsize * (queries + keys))
        if operation == "choose":
            return choose
        if operation == "broadcast":
            return mixed
        return (choose[0] + mixed[0], choose[1] + mixed[1]) if operation == "choose and broadcast" else None


def choose(query: Tensor, key: Tensor, tables: Tables, shape: Shape, scale: float) -> tuple[Tensor, Tensor]:
    """Choose the source head of each prompt, and whether to broadcast it: both `[prompts]`, on the device."""
    counts = sinks.count_sinks_of_prompts(
        attention_received(query, key, tables.prompts, scale), tables.columns, len(shape.lengths)
    )
    chosen = choose_source_heads(counts, tables.choices)
    return chosen[:, 0], chosen[:, 3].bool()


def head_query_key(query: Tensor, key: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Return one head's query and its group's key, `[S, head_dim]` each, without waiting for the device."""
    kv_head = torch.div(head, query.shape[1] // key.shape[1], rounding_mode="floor")
    return query.index_select(1, head.view(1))[:, 0], key.index_select(1, kv_head.view(1))[:, 0]


def maps(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Compute all attention maps of one prompt, `[heads, S, S]` in float32, the naive way."""
    per_head = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(0, 1).float()
    scores = query.transpose(0, 1).float() @ per_head.transpose(1, 2) * scale
    later = torch.ones(scores.shape[1:], dtype=torch.bool, device=query.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1)


def naive(query: Tensor, key: Tensor, value: Tensor, source: Tensor, columns: range, scale: float) -> list[Tensor]:
    """For one prompt: what columns receive in each head, and the source head's map times each head's values."""
    every = maps(query, key, scale)
    group = query.shape[1] // key.shape[1]
    mixed = torch.einsum("rc,chd->rhd", every.index_select(0, source.view(1))[0], value.float())
    return [every.tril(-1).sum(1)[:, columns.start : columns.stop], mixed.repeat_interleave(group, dim=1)]


def operations(shape: Shape, device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return each operation as a function, all on the same random inputs. None of them waits for the device."""
    query, key, value = shape.qkv(device, dtype)
    scale, group, tables = shape.head_dim**-0.5, shape.heads // shape.kv_heads, shape.tables(device)
    output, prompts = torch.empty_like(query), len(shape.lengths)
    source = torch.full((prompts,), shape.heads - 1, device=device)
    yes = torch.ones(prompts, dtype=torch.bool, device=device)

    def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (matrix.transpose(0, 1)[None] for matrix in (query, key, value))
        result = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] > k.shape[1]
        )
        return result[0].transpose(0, 1)

    def fused_attention() -> None:
        for rows in shape.rows():
            output[rows] = fused(query[rows], key[rows], value[rows])

    def fused_broadcast() -> None:
        for rows, head in zip(shape.rows(), source, strict=True):
            one_query, one_key = head_query_key(query[rows], key[rows], head)
            same = (one[:, None].expand(-1, shape.kv_heads, -1) for one in (one_query, one_key))
            output[rows] = fused(*same, value[rows]).repeat_interleave(group, dim=1)

    def one_map_times_values() -> None:
        for rows, head in zip(shape.rows(), source, strict=True):
            one_query, one_key = head_query_key(query[rows], key[rows], head)
            weights = maps(one_query[:, None], one_key[:, None], scale)[0].to(dtype)
            mixed = (weights @ value[rows].flatten(1)).unflatten(1, (shape.kv_heads, -1))
            output[rows] = mixed.repeat_interleave(group, dim=1)

    def mix(head: Tensor, applies: Tensor) -> None:
        kv_head = torch.div(head, group, rounding_mode="floor")
        broadcast_rows(query, key, head, kv_head, value, applies, output, tables.prompts, scale)

    def blocked_torch() -> None:
        for rows in shape.rows():
            sinks.attention_received(query[rows], key[rows], torch.arange(*shape.image, device=device), scale)

    def naive_everything() -> None:
        for rows, columns in zip(shape.rows(), shape.columns(), strict=True):
            naive(query[rows], key[rows], value[rows], source[0], columns, scale)

    return {
        "fused attention": fused_attention,
        "choose": lambda: choose(query, key, tables, shape, scale),
        "broadcast": lambda: mix(source, yes),
        "choose and broadcast": lambda: mix(*choose(query, key, tables, shape, scale)),
        "broadcast by fused attention": fused_broadcast,
        "broadcast by one map times values": one_map_times_values,
        "choose, blocked torch": blocked_torch,
        "choose and broadcast, naive": naive_everything,
    }


def check(shape: Shape, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Return the largest differences between the kernels and the naive way.

    Raises:
        RuntimeError: they are larger than rounding explains.
    """
    query, key, value = shape.qkv(device, dtype)
    scale, tables, prompts = shape.head_dim**-0.5, shape.tables(device), len(shape.lengths)
    source = torch.arange(prompts, device=device) % shape.heads
    applies = torch.ones(prompts, dtype=torch.bool, device=device)
    output = torch.empty_like(query)
    received = attention_received(query, key, tables.prompts, scale).split([len(c) for c in shape.columns()], dim=1)
    kv_source = torch.div(source, shape.heads // shape.kv_heads, rounding_mode="floor")
    broadcast_rows(query, key, source, kv_source, value, applies, output, tables.prompts, scale)
    worst = {"received": 0.0, "output": 0.0}
    for i, (rows, columns) in enumerate(zip(shape.rows(), shape.columns(), strict=True)):
        sums, mixed = naive(query[rows], key[rows], value[rows], source[i], columns, scale)
        worst["received"] = max(worst["received"], float((received[i] - sums).abs().max()))
        worst["output"] = max(worst["output"], float((output[rows].float() - mixed).abs().max()))
    allowed = {"received": 1e-3, "output": 1e-4 if dtype == torch.float32 else 5e-2}
    if any(not worst[name] <= allowed[name] for name in worst):
        raise RuntimeError(
            f"{shape}, {dtype}: the kernels differ from the naive reference by {worst}, allowed {allowed}"
        )
    return worst


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Return the milliseconds of one call; on a GPU without the time that the host takes to launch it."""
    if device.type == "cpu":
        begin = time.perf_counter()
        function()
        return (time.perf_counter() - begin) * 1e3
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    # The device idles for about 3 ms, in which the host gets ahead of it, as it is in the middle of a prefill.
    torch.cuda._sleep(5_000_000)
    start.record()
    function()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop))


def summary(values: list[float]) -> dict[str, float]:
    """Summarize values in the form that every figure of `make bench` has."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def extra_megabytes(function: Callable[[], object], device: torch.device) -> float | None:
    """Return the MiB of device memory that one call takes at its peak beyond its inputs; None on a CPU."""
    if device.type == "cpu":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def in_turns(
    functions: Mapping[str, Callable[[], object]], runs: int, device: torch.device
) -> tuple[dict[str, float | None], dict[str, list[float]]]:
    """Return each function's extra MiB, and its milliseconds in `runs` rounds of all."""
    memory = {name: extra_megabytes(function, device) for name, function in functions.items()}  # this also compiles
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            times[name].append(timed(function, device))
    return memory, times


def measure(
    shape: Shape, device: torch.device, dtype: torch.dtype, runs: int, peaks: tuple[float, float] | None
) -> list[dict[str, object]]:
    """Time every operation, interleaved; `peaks` are the TFLOP/s and TB/s of the device."""
    functions = operations(shape, device, dtype)
    memory, times = in_turns(functions, runs, device)
    fused, rows = statistics.median(times["fused attention"]), []
    for name in functions:
        row: dict[str, object] = {"shape": str(shape), "operation": name, "milliseconds": summary(times[name])}
        median = statistics.median(times[name])
        row |= {"over_fused_attention": median / fused, "extra_megabytes": memory[name]}
        floors = shape.floors(name, dtype.itemsize)
        for i, floor in enumerate(("percent_of_flop_peak", "percent_of_bandwidth_peak")):
            known = floors is not None and peaks is not None
            row[floor] = 100 * floors[i] / (peaks[i] * 1e9) / median if known else None  # type: ignore[index]
        rows.append(row)
    return rows
