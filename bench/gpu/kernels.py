"""Phase d: our Triton kernels alone: are they right in every type and shape, does the host wait, what do they cost.

They are timed beside two forms of ordinary attention on the same shape: torch's fused attention, and FlashAttention 3
as vLLM calls it. The floors are those of `bench/gpu_ops.py`: the FLOP and bytes that an operation needs at least.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.gpu.rows import STAND_IN, Result
from bench.gpu_ops import PEAKS, Shape, check, in_turns, operations, summary

FLASH_3 = "FlashAttention 3"
OURS = ("choose", "broadcast", "choose and broadcast")
MHA = Shape((648,), 32, 32, 128, (35, 611))
GQA = replace(MHA, heads=28, kv_heads=4)
LENGTHS = (648, 1024, 2048, 4096, 8192)
CHECKED = (
    replace(MHA, lengths=(648, 700, 1111)),
    replace(GQA, lengths=(648, 700, 1111)),
    Shape((79, 64, 200), 8, 2, 32, (5, 60)),
    Shape((79, 64, 200), 6, 3, 64, (5, 60)),
    Shape((90, 33), 6, 6, 80, (2, 30)),
    Shape((300,), 8, 8, 256, (5, 200)),
)
TINY = Shape((40,), 4, 2, 16, (5, 30))


def right(result: Result, shapes: tuple[Shape, ...], device: torch.device) -> None:
    """Compare the kernels with the naive way, in three types."""
    for shape in shapes:
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            name = f"kernels = naive, {shape}, {str(dtype).removeprefix('torch.')}"
            try:
                worst = max(check(shape, device, dtype).values())
            except RuntimeError as error:  # `check` says how far they are apart
                print(error, flush=True)
                result.row(name, 0, 1)
                continue
            result.row(name, 1, 1, worst=worst)


def waits(result: Result, shape: Shape, device: torch.device) -> None:
    """Choose and broadcast where torch makes every wait for the GPU an error."""
    name = "choosing and broadcasting waits for nothing"
    if device.type == "cpu":
        result.unchecked(name, "there is no GPU")
        return
    both = operations(shape, device, torch.bfloat16)["choose and broadcast"]
    both()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        both()
    except RuntimeError as error:
        result.note(waited=str(error))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if STAND_IN:
        print("STAND-IN: waits", result.content.get("waited", "none"), flush=True)
    result.row(name, int("waited" not in result.content), 1)


def flash_attention_3(shape: Shape, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    """Return ordinary attention of the shape as vLLM computes it on this card."""
    from vllm.vllm_flash_attn import flash_attn_varlen_func

    query, key, value = shape.qkv(device, dtype)
    starts = torch.tensor([*shape.row_starts, sum(shape.lengths)], device=device, dtype=torch.int32)
    longest, output = max(shape.lengths), torch.empty_like(query)
    return lambda: flash_attn_varlen_func(
        query, key, value, max_seqlen_q=longest, cu_seqlens_q=starts, max_seqlen_k=longest, cu_seqlens_k=starts,
        causal=True, softmax_scale=shape.head_dim**-0.5, fa_version=3, out=output,
    )  # fmt: skip


def measure(shape: Shape, device: torch.device, runs: int, peaks: tuple[float, float] | None) -> list[dict[str, Any]]:
    """Time our operations and ordinary attention in turns; ratios are taken within a round."""
    dtype = torch.bfloat16
    every = operations(shape, device, dtype)
    functions = {name: every[name] for name in ("fused attention", *OURS)}
    if device.type != "cpu":
        functions = {FLASH_3: flash_attention_3(shape, device, dtype)} | functions
    ordinary = next(iter(functions))
    memory, times = in_turns(functions, runs, device)
    rows = []
    for name, values in times.items():
        row: dict[str, Any] = {"shape": str(shape), "operation": name, "milliseconds": summary(values)}
        row["over_ordinary"] = summary([a / b for a, b in zip(values, times[ordinary], strict=True)])
        row["extra_megabytes"] = memory[name]
        floors = shape.floors("fused attention" if name == FLASH_3 else name, dtype.itemsize)
        if floors is not None and peaks is not None:
            floor = max(floors[0] / (peaks[0] * 1e9), floors[1] / (peaks[1] * 1e9))
            row["over_floor"] = statistics.median(values) / floor
        rows.append(row)
    return rows


def main() -> int:
    """Check, then measure; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    device, tiny = torch.device(given.device), given.device == "cpu"
    torch.manual_seed(0)
    if tiny:
        torch.set_num_threads(1)  # Triton's interpreter works in one thread
    name = "CPU" if tiny else torch.cuda.get_device_name(device)
    peaks = next((figures for part, figures in PEAKS.items() if part in name), None)
    result = Result(given.json, device=name, peaks=peaks, runs=given.runs)
    right(result, (replace(TINY, lengths=(40, 33)),) if tiny else CHECKED, device)
    waits(result, TINY if tiny else MHA, device)
    measured: list[dict[str, Any]] = []
    for shape in (TINY,) if tiny else (replace(kind, lengths=(n,)) for kind in (MHA, GQA) for n in LENGTHS):
        measured += measure(shape, device, given.runs, peaks)
        result.note(operations=measured)
    return int(result.failed)


if __name__ == "__main__":
    raise SystemExit(main())
