"""Compiles the Triton kernels, as our wrappers launch them, for GPUs that are not here; a child process of its test."""

from __future__ import annotations

import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from eah_vllm.kernels import launch
from tests.unit.attention_cases import random_qkv

KERNELS = {name: getattr(launch, name) for name in ("row_log_sum_exp", "column_sums", "mix_values")}
TARGETS = {
    "A100": GPUTarget("cuda", 80, 32),
    "H100": GPUTarget("cuda", 90, 32),
    "MI300": GPUTarget("hip", "gfx942", 64),
}
TYPES = {torch.int32: "i32", torch.int64: "i64", torch.bool: "i1", torch.float32: "fp32"}
TYPES |= {torch.float16: "fp16", torch.bfloat16: "bf16", int: "i32", float: "fp32"}


class Recorder:
    """Takes a kernel's place, to learn what the wrapper launches."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.named: dict[str, Any] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *args: Any, **options: Any) -> None:
        self.named = dict(zip(self.kernel.arg_names, args, strict=False)) | options

    def compile(self, target: GPUTarget) -> int:
        """Shared memory of one program, in bytes."""
        signature, constants, attributes = {}, {}, {}
        for parameter in self.kernel.params:
            given = self.named[parameter.name]
            if parameter.is_constexpr:
                signature[parameter.name], constants[parameter.name] = "constexpr", given
                continue
            pointer = isinstance(given, torch.Tensor)
            signature[parameter.name] = "*" + TYPES[given.dtype] if pointer else TYPES[type(given)]
            if pointer or (isinstance(given, int) and given % 16 == 0 and not parameter.do_not_specialize):
                attributes[(parameter.num,)] = [["tt.divisibility", 16]]
        options = {name: given for name, given in self.named.items() if name not in self.kernel.arg_names}
        source = ASTSource(self.kernel, signature, constants, attributes)
        shared: int = triton.compile(source, target=target, options=options).metadata.shared
        return shared


def compile_for(target: GPUTarget, head_dim: int, dtype: torch.dtype) -> dict[str, int]:
    """Shared memory that each kernel needs."""
    recorders = {name: Recorder(kernel) for name, kernel in KERNELS.items()}
    for name, recorder in recorders.items():
        setattr(launch, name, recorder)
    query, key, value = random_qkv(0, 9, 32, 8, head_dim, dtype)
    tables = launch.prompt_tables([0], [9], [[1]], "cpu")
    head, output = torch.zeros(1, dtype=torch.int64), torch.empty_like(query)
    launch.attention_received(query, key, tables, 1.0)
    launch.broadcast_rows(query, key, head, head, value, head.bool(), output, tables, 1.0)
    return {name: recorder.compile(target) for name, recorder in recorders.items()}


if __name__ == "__main__":
    shapes = {"A100": [(128, torch.bfloat16), (80, torch.float16)], "H100": [(128, torch.bfloat16)]}
    shapes["MI300"] = shapes["H100"]
    compiled = {gpu: [compile_for(target, *shape) for shape in shapes[gpu]] for gpu, target in TARGETS.items()}
    torch.save(compiled, sys.argv[1])
