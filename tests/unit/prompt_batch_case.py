"""One step's EAH work, from sink counts to output rows, as one process would do it and as two ranks would together.

Run as a module it saves the result: the process then has Triton's interpreter, and the product takes its kernels.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from eah_vllm.method.base import LayerStep, Part, Parts
from eah_vllm.method.eah import EAH
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import EAHOptions
from eah_vllm.order import Order
from eah_vllm.settings import ModelShape, resolve
from eah_vllm.worker.request_state import RequestState
from tests.unit.attention_cases import random_qkv

HEADS, KV_HEADS, HEAD_DIM = 8, 4, 16
SCALE = HEAD_DIM**-0.5
OPTIONS = [
    EAHOptions(relative_threshold=1.2),
    EAHOptions(relative_threshold=1.2, head="sparsest"),
    EAHOptions(relative_threshold=1.2, head=5),
    EAHOptions(threshold=0.9),  # no sink anywhere
    EAHOptions(relative_threshold=1.2, head="random"),
    EAHOptions(preset="released_code", layer=1, threshold=0.0001),
]
LENGTHS = (40, 65, 20, 33, 70, 50)


def prompts() -> Parts:
    """One prompt per set of options, two images each, a foreign row before every one."""
    parts, start = [], 1
    for idx, (options, length) in enumerate(zip(OPTIONS, LENGTHS, strict=True)):
        settings = resolve(options, EAHOptions(), ModelShape(4, HEADS))
        spans = (ImageSpan(2, length // 2), ImageSpan(length // 2 + 2, length))
        state = RequestState(f"r{idx}", Order("eah", settings), length, spans, pictures=(f"picture {idx}",))
        parts.append(Part(state, start, idx))
        start += length + 1
    return Parts(tuple(parts))


def one_token_pictures() -> Parts:
    """Pictures of one token: the released code leaves out each one's first, so no column is left to look at."""
    parts = []
    for idx, head in enumerate(("auto", 5)):
        options = EAHOptions(preset="released_code", layer=1, head=head)
        settings = resolve(options, EAHOptions(), ModelShape(4, HEADS))
        state = RequestState(f"one{idx}", Order("eah", settings), 12, (ImageSpan(2, 3), ImageSpan(5, 6)))
        parts.append(Part(state, 12 * idx, idx))
    return Parts(tuple(parts))


def layer_step(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, shards: HeadShards
) -> LayerStep:
    """Layer 1 of a step whose ordinary attention is what `output` holds."""
    return LayerStep(1, query, key, value, output, SCALE, shards, lambda: output, writes_cache=False)


class Ranks:
    """Two ranks in turn: each pass repeats the step with the sums of what both sent in the pass before."""

    def __init__(self) -> None:
        self.sums: list[torch.Tensor] = []
        self.sent: list[list[torch.Tensor]] = []

    def shards(self, rank: int) -> HeadShards:
        self.sent.append([])

        def all_reduce(local: torch.Tensor) -> torch.Tensor:
            self.sent[-1].append(local)
            call = len(self.sent[-1]) - 1
            return self.sums[call] if call < len(self.sums) else local

        return HeadShards(rank, 2, all_reduce)

    def end_of_pass(self) -> None:
        self.sums = [a + b for a, b in zip(*self.sent, strict=True)]
        self.sent = []


def run() -> dict[str, Any]:
    """Choices and output of one process, and of two ranks."""
    total = sum(LENGTHS) + len(LENGTHS) + 1
    query, key, value = random_qkv(4, total, HEADS, KV_HEADS, HEAD_DIM)
    alone = HeadShards(0, 1, lambda local: local)
    output = torch.full((total, HEADS, HEAD_DIM), 7.0)
    choices = EAH().on_prompts(layer_step(query, key, value, output, alone), prompts())

    one_token, mixed = one_token_pictures(), Parts(one_token_pictures().parts + prompts().parts)
    one_token_output = torch.full((total, HEADS, HEAD_DIM), 7.0)
    at = layer_step(query, key, value, one_token_output, alone)
    one_token_choices = [EAH().choose(at, batch) for batch in (one_token, mixed)]
    EAH().broadcast(at, one_token, one_token_choices[0])

    ranks, half = Ranks(), HEADS // 2
    for _ in range(3):  # two sums depend on each other; the third pass has both
        shared_choices, shared = [], []
        for rank in range(2):
            heads, kv_heads = (
                slice(rank * half, (rank + 1) * half),
                slice(rank * KV_HEADS // 2, (rank + 1) * KV_HEADS // 2),
            )
            mine = query[:, heads], key[:, kv_heads], value[:, kv_heads]
            shards, rows = ranks.shards(rank), torch.full((total, half, HEAD_DIM), 7.0)
            shared_choices.append(EAH().on_prompts(layer_step(*mine, rows, shards), prompts()))
            shared.append(rows)
        ranks.end_of_pass()
    return {
        "choices": choices,
        "output": output,
        "one-token choices": one_token_choices,
        "one-token output": one_token_output,
        "rank choices": torch.stack(shared_choices),
        "rank output": torch.cat(shared, dim=1),
    }


if __name__ == "__main__":
    torch.save(run(), sys.argv[1])
