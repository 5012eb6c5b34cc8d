"""A process of its own that measures the extra memory of the choice of a head: `KIND HEADS KV_HEADS TOKENS`.

`torch` is the code of CPUs, by how far resident memory rises; `triton` the kernels, by what their launches allocate.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.op import choose, inputs
from bench.op_memory import rise
from eah_vllm.kernels.tables import prompt_tables


class Allocated(TorchDispatchMode):
    """Bytes of all tensors that are made, freed ones included."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in known:
                self.storages[leaf.untyped_storage().data_ptr()] = leaf.untyped_storage()
        return result


def in_torch(query: torch.Tensor, key: torch.Tensor, columns: torch.Tensor) -> float:
    with torch.inference_mode():  # this warms up: threads and kernels take memory once, whatever the size
        choose(query[:128].clone(), key[:128].clone(), columns[columns < 128])
    return rise(lambda: choose(query, key, columns))


def in_triton(query: torch.Tensor, key: torch.Tensor, columns: torch.Tensor) -> float:
    from eah_vllm.kernels import launch

    with Allocated() as allocated:
        tables = prompt_tables([0], [len(query)], [columns[:64].tolist()], query.device)
        launch.attention_received(query, key, tables, 0.1)
    return sum(storage.nbytes() for storage in allocated.storages.values()) / 2**20


if __name__ == "__main__":
    torch.set_num_threads(1)
    heads, kv_heads, num_tokens = (int(word) for word in sys.argv[2:])
    dtype = {"torch": torch.bfloat16, "triton": torch.float32}[sys.argv[1]]
    query, key, _, columns = inputs(num_tokens, (heads, kv_heads), dtype)
    found = {"torch": in_torch, "triton": in_triton}[sys.argv[1]](query, key, columns[columns < num_tokens])
    sys.stdout.write(str(found))
