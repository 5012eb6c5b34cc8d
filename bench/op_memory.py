"""Measures the extra memory of the op: how far a process's resident memory rises above what it was before the call.

Everything counts: tensors, what the libraries below torch allocate, and their threads. Only the output, into which EAH
writes, does not, since the layer has it without EAH too. Each measurement has a process of its own, because memory that
an earlier call gave back to the allocator would hide what a later one takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from bench.children import Child, answer
from bench.naive import naive_eah
from bench.op import DTYPES, HEADS, SCALE, THRESHOLD, both, inputs
from bench.results import Part, say, summary

KNOWN_MB = 64
TOLERANCE_MB = 2
WARM_UP_TOKENS = 128
MB = 1 << 20


def _resident(field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


def rise(function: Any) -> float:
    """Return the MiB by which resident memory rises during a call."""
    Path("/proc/self/clear_refs").write_text("5")  # this resets the peak
    before = _resident("VmRSS")
    with torch.inference_mode():
        function()
    return _resident("VmHWM") - before


def peak(which: str, num_tokens: int, heads: str, dtype: str) -> float:
    """Return the MiB that the op, the naive reference or a known allocation takes; call it once in a process."""
    functions: dict[str, Any] = {
        "both": lambda q, k, v, c, out: both(q, k, v, c, out),
        "naive": lambda q, k, v, c, out: naive_eah(q, k, v, c, SCALE, THRESHOLD),
        "known": lambda q, k, v, c, out: torch.ones(KNOWN_MB * MB, dtype=torch.uint8),
    }
    query, key, value, columns = inputs(num_tokens, HEADS[heads], DTYPES[dtype])
    output = torch.zeros_like(query, memory_format=torch.contiguous_format)  # the layer has it without EAH too
    small = [tensor[:WARM_UP_TOKENS].clone() for tensor in (query, key, value)]
    with torch.inference_mode():  # this warms up: threads and kernels take memory once, whatever the size
        functions[which](*small, columns[columns < WARM_UP_TOKENS], torch.zeros_like(small[0]))
    return rise(lambda: functions[which](query, key, value, columns, output))


def serve(connection: Any) -> None:
    """Run the child process, which answers calls over the connection."""
    answer(connection, {"peak": peak})


def _in_a_process(*arguments: Any) -> float:
    with Child("bench.op_memory") as child:
        megabytes: float = child.call("peak", *arguments)
    return megabytes


def measure(rounds: int, part: Part, num_tokens: int = 4096, *, naive: bool = True) -> None:
    """Measure peaks for 32 heads, after a check that a known allocation is seen.

    Raises:
        RuntimeError: the known allocation does not measure as its size.
    """
    known = _in_a_process("known", num_tokens, "mha", "float32")
    if abs(known - KNOWN_MB) > TOLERANCE_MB:
        raise RuntimeError(f"an allocation of {KNOWN_MB} MiB is measured as {known:.1f} MiB")
    part.facts["known_allocation_mb"] = {"allocated": KNOWN_MB, "measured": known}
    worst: dict[str, float] = {"median": -1.0}
    for dtype in DTYPES:
        rows = [{"both": _in_a_process("both", num_tokens, "mha", dtype)} for _ in range(rounds)]
        for row in rows:
            part.add_round(f"peak_mb_mha_{dtype}_s{num_tokens}", row)
        figure = summary([row["both"] for row in rows])
        part.figures[f"op_peak_mb_mha_{dtype}_s{num_tokens}"] = figure
        worst = max(worst, figure, key=lambda one: one["median"])
        say(f"op memory {dtype} S={num_tokens}: {figure['median']:.1f} MiB")
    part.figures[f"op_peak_mb_s{num_tokens}"] = worst  # the larger of the two dtypes' peaks
    if naive:
        part.facts["naive_peak_mb_s2048"] = _in_a_process("naive", 2048, "mha", "float32")
        say(f"op memory naive S=2048: {part.facts['naive_peak_mb_s2048']:.0f} MiB")
