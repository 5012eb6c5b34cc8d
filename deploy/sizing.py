"""Captions per second and GPU, and their cost, on paper: `python3 deploy/sizing.py`; --help for what can be changed.

An upper bound from data sheets (compute for prompts, memory bandwidth for tokens), not a measurement. docs/scaling.md
explains it and holds its output; give --captions-per-second what `make bench` or your own load test measured instead.
"""

import argparse
import sys
from dataclasses import dataclass

# LLaVA-1.5-7B in bfloat16: 32 layers of 32 heads of 128, 576 image tokens in a prompt of 648.
WEIGHT_BYTES = 14.1e9
LANGUAGE_PARAMETERS = 6.74e9
KV_BYTES_PER_TOKEN = 2 * 32 * 32 * 128 * 2
PROMPT_TOKENS = 648
VISION_FLOP = 0.38e12  # CLIP-L/336: 577 rows of 0.3 billion parameters, and attention
PROMPT_FLOP = 2 * LANGUAGE_PARAMETERS * PROMPT_TOKENS + VISION_FLOP
EAH_FLOP = 10.3e9  # two passes over queries and keys, one map times all values, one layer
ACTIVATION_BYTES = 2e9
MAX_NUM_SEQS = 256  # vLLM's default on most GPUs


@dataclass(frozen=True)
class Gpu:
    """Data sheet (dense bfloat16) and an assumed price."""

    name: str
    gib: int
    tflops: float
    terabytes_per_second: float
    dollars_per_hour: float


GPUS = (
    Gpu("L4", 24, 121, 0.30, 0.80),
    Gpu("L40S", 48, 362, 0.864, 1.60),
    Gpu("A100 80 GB", 80, 312, 2.0, 2.00),
    Gpu("H100 SXM", 80, 989, 3.35, 3.00),
)


@dataclass(frozen=True)
class Assumptions:
    """What no data sheet says."""

    output_tokens: float = 130
    """About 100 words."""
    compute_share: float = 0.5
    """Of the peak, reached on prompts."""
    bandwidth_share: float = 0.7
    """Of the peak, reached on tokens."""
    memory_share: float = 0.92
    """Of the memory, vLLM's --gpu-memory-utilization."""


def concurrent(gpu: Gpu, assumed: Assumptions) -> int:
    """Requests whose whole KV cache fits at once, so that none is preempted."""
    free = gpu.gib * 2**30 * assumed.memory_share - WEIGHT_BYTES - ACTIVATION_BYTES
    return min(MAX_NUM_SEQS, int(free / (KV_BYTES_PER_TOKEN * (PROMPT_TOKENS + assumed.output_tokens))))


def captions_per_second(gpu: Gpu, assumed: Assumptions, eah: bool) -> float:
    """Upper bound of one GPU that is never idle."""
    prompt = (PROMPT_FLOP + (EAH_FLOP if eah else 0)) / (gpu.tflops * 1e12 * assumed.compute_share)
    batch = concurrent(gpu, assumed)
    context = PROMPT_TOKENS + assumed.output_tokens / 2
    step = (2 * LANGUAGE_PARAMETERS + batch * context * KV_BYTES_PER_TOKEN) / (
        gpu.terabytes_per_second * 1e12 * assumed.bandwidth_share
    )
    return 1 / (prompt + assumed.output_tokens * step / batch)


def dollars_per_million(dollars_per_hour: float, rate: float) -> float:
    """Cost of a million captions."""
    return dollars_per_hour / 3600 / rate * 1e6


def bound_table(assumed: Assumptions) -> str:
    """What a GPU could do at most."""
    lines = [
        "| GPU | requests at once | captions/s off | on | assumed $/h | $ per million off | on | GPUs for 10,000/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for gpu in GPUS:
        off, on = (captions_per_second(gpu, assumed, eah) for eah in (False, True))
        cost = [f"{dollars_per_million(gpu.dollars_per_hour, rate):.2f}" for rate in (off, on)]
        lines.append(
            f"| {gpu.name} | {concurrent(gpu, assumed)} | {off:.3f} | {on:.3f} | {gpu.dollars_per_hour:.2f} "
            f"| {cost[0]} | {cost[1]} | {10_000 / on:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def cost_table(rates: tuple[float, ...], prices: tuple[float, ...]) -> str:
    """Cost of a million captions for any measured rate and any price."""
    head = "| captions/s and GPU | " + " | ".join(f"${price:.2f}/h" for price in prices) + " |"
    lines = [head, "|" + "---|" * (len(prices) + 1)]
    for rate in rates:
        costs = " | ".join(f"{dollars_per_million(price, rate):,.0f}" for price in prices)
        lines.append(f"| {rate:g} | {costs} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-tokens", type=float, default=Assumptions.output_tokens)
    parser.add_argument("--compute-share", type=float, default=Assumptions.compute_share)
    parser.add_argument("--bandwidth-share", type=float, default=Assumptions.bandwidth_share)
    parser.add_argument("--captions-per-second", type=float, nargs="*", default=[1, 2, 5, 10, 20])
    parser.add_argument("--dollars-per-hour", type=float, nargs="*", default=[0.5, 1, 2, 3, 5])
    given = parser.parse_args()
    assumed = Assumptions(given.output_tokens, given.compute_share, given.bandwidth_share)
    sys.stdout.write(bound_table(assumed) + "\n")
    sys.stdout.write(cost_table(tuple(given.captions_per_second), tuple(given.dollars_per_hour)))


if __name__ == "__main__":
    main()
