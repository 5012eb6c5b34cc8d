"""Prompts for the Triton kernels, and the child process that runs the kernels on them, one number after another.

Triton decides whether to interpret when it is imported, so the process that runs these is started for it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from tests.unit.attention_cases import random_qkv

BLOCK = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole prompt in the batch: its length, where its image tokens are, its source head, None for no broadcast."""

    length: int
    columns: list[int]
    source: int | None = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One step's batch: prompts with foreign rows before, between and after them."""

    prompts: list[Prompt]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype
    shared_source: bool = False
    """Query and key hold the source head alone, as another tensor-parallel rank sends them."""

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5

    @property
    def row_starts(self) -> list[int]:
        starts = [3]
        for prompt in self.prompts[:-1]:
            starts.append(starts[-1] + prompt.length + 2)
        return starts

    def rows(self) -> list[slice]:
        """Of each prompt."""
        return [slice(s, s + p.length) for s, p in zip(self.row_starts, self.prompts, strict=True)]

    def qkv(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Strided views of one projection; rows of no prompt are not a number, so that whoever reads them is caught."""
        num_tokens = self.rows()[-1].stop + 3
        query, key, value = random_qkv(11, num_tokens, self.num_heads, self.num_kv_heads, self.head_dim, self.dtype)
        foreign = torch.ones(num_tokens, dtype=torch.bool)
        for rows in self.rows():
            foreign[rows] = False
        for matrix in (query, key, value):
            matrix[foreign] = float("nan")
        return query, key, value


TWO_IMAGES = [*range(5, 29), *range(40, 52), *range(53, 65)]
"""The second in two rows with a separator after the first; the columns need more than the rows of one block."""
LENGTHS = [
    Prompt(1, [0], source=1),
    Prompt(BLOCK, list(range(2, BLOCK)), source=None),
    Prompt(2 * BLOCK + 1, [*TWO_IMAGES, *range(70, 110)], source=1),
    Prompt(BLOCK + 1, [0, 7, BLOCK], source=0),
    Prompt(7, [2, 3, 6], source=0),
]
CASES = {
    "one head per group": Case(LENGTHS, 2, 2, 16, torch.float32),
    "three heads per group": Case(LENGTHS, 6, 2, 72, torch.float32),
    "28 heads, 4 groups": Case([Prompt(70, TWO_IMAGES, source=27), Prompt(9, [1, 2])], 28, 4, 128, torch.bfloat16),
    "one group": Case([Prompt(33, [4, 5, 6], source=3), Prompt(90, TWO_IMAGES, source=2)], 4, 1, 80, torch.float16),
    "bfloat16": Case(LENGTHS, 2, 1, 64, torch.bfloat16),
    "more values than one program mixes": Case([Prompt(66, TWO_IMAGES, source=4)], 5, 5, 96, torch.float16),
    "source head of another rank": Case(LENGTHS, 4, 2, 32, torch.float16, shared_source=True),
}


def run(case: Case) -> dict[str, torch.Tensor]:
    """`received` and `output` of the kernels; output was not a number everywhere."""
    from eah_vllm.kernels import launch

    query, key, value = case.qkv()
    lengths, columns = [p.length for p in case.prompts], [p.columns for p in case.prompts]
    tables = launch.prompt_tables(case.row_starts, lengths, columns, "cpu")
    received = launch.attention_received(query, key, tables, case.scale)
    output = torch.full((len(query), case.num_heads, case.head_dim), float("nan"), dtype=case.dtype)
    source = torch.tensor([prompt.source or 0 for prompt in case.prompts])
    broadcast = torch.tensor([prompt.source is not None for prompt in case.prompts])
    kv_source = source // (case.num_heads // case.num_kv_heads)
    if case.shared_source:
        one_query, one_key = query.new_zeros(len(query), 1, case.head_dim), key.new_zeros(len(key), 1, case.head_dim)
        for rows, head, kv_head in zip(case.rows(), source, kv_source, strict=True):
            one_query[rows, 0], one_key[rows, 0] = query[rows, head], key[rows, kv_head]
        query, key, source, kv_source = one_query, one_key, torch.zeros_like(source), torch.zeros_like(source)
    # A column of a table, as the plugin passes them.
    source, kv_source = torch.stack((source, kv_source), dim=1).unbind(dim=1)
    launch.broadcast_rows(query, key, source, kv_source, value, broadcast, output, tables, case.scale)
    return {"received": received, "output": output}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save({name: run(case) for name, case in CASES.items()}, sys.argv[1])
