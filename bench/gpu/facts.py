"""Phase a: what is there, and whether vLLM's own kernels, cut down to one chip's code, compute what they should."""

from __future__ import annotations

import argparse
import itertools
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.gpu.rows import Result

QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit"
STARTS = [0, 648, 681, 1381]
"""Where each of three prompts begins, and the end of the last."""
ALLOWED = 1e-2
"""Largest relative error, by norm, of half-precision kernels against double precision."""


def installed(name: str) -> str:
    """Return a package's version, "missing" without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def nvidia_smi() -> str:
    """Return what the driver says of the card; why not, where there is none."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"not to be had: {error}"
    return (result.stdout or result.stderr).strip()


class Kernels:
    """Compares kernels of the reduced libraries with torch in double precision."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.device = torch.device("cuda")

    def compare(self, name: str, got: Tensor, expected: Tensor) -> None:
        """Add a row: relative error by norm."""
        error = float((got.double() - expected.double()).norm() / expected.double().norm())
        self.result.row(name, int(error < ALLOWED), 1, worst=error, allowed=ALLOWED)

    def elementwise(self) -> None:
        """Check a norm and an activation of `_C`."""
        from vllm import _custom_ops as ops

        x = torch.randn(100, 4096, device=self.device, dtype=torch.bfloat16)
        weight = torch.rand(4096, device=self.device, dtype=torch.bfloat16)
        out = torch.full_like(x, float("nan"))
        ops.rms_norm(out, x, weight, 1e-5)
        self.compare("vLLM's rms_norm", out, F.rms_norm(x.double(), (4096,), weight.double(), 1e-5))
        out = torch.full_like(x[:, :2048], float("nan"))
        torch.ops._C.silu_and_mul(out, x)
        self.compare("vLLM's silu_and_mul", out, F.silu(x[:, :2048].double()) * x[:, 2048:].double())

    def flash_attention(self) -> None:
        """Check FlashAttention 3 with grouped heads over prompts of several lengths."""
        from vllm.vllm_flash_attn import flash_attn_varlen_func

        starts = torch.tensor(STARTS, device=self.device, dtype=torch.int32)
        longest = max(stop - start for start, stop in itertools.pairwise(STARTS))
        for head_dim in (32, 64, 128):
            for dtype in (torch.bfloat16, torch.float16):
                q, k, v = (
                    torch.randn(STARTS[-1], heads, head_dim, device=self.device, dtype=dtype) for heads in (8, 2, 2)
                )
                got = flash_attn_varlen_func(
                    q, k, v, max_seqlen_q=longest, cu_seqlens_q=starts, max_seqlen_k=longest, cu_seqlens_k=starts,
                    causal=True, softmax_scale=head_dim**-0.5, fa_version=3,
                )  # fmt: skip
                self.compare(f"FlashAttention 3, head {head_dim}, {dtype}", got, self._attention(q, k, v))

    @staticmethod
    def _attention(*matrices: Tensor) -> Tensor:
        outputs = []
        for start, stop in itertools.pairwise(STARTS):
            q, k, v = (matrix[start:stop].transpose(0, 1)[None].double() for matrix in matrices)
            outputs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1))
        return torch.cat(outputs)


def imports(result: Result, *, cpu: bool) -> None:
    """Import what the other phases need, and note how long it takes.

    Raises:
        RuntimeError: vLLM does not see the device that is meant, so that nothing else could work.
    """
    begin = time.monotonic()
    import vllm
    from vllm.platforms import current_platform

    found: dict[str, Any] = {"vllm": vllm.__version__, "platform": type(current_platform).__name__}
    if cpu != current_platform.is_cpu():
        raise RuntimeError(f"vLLM's platform is {found['platform']}; on a GPU it must find libnvidia-ml.so.1")
    if not cpu:
        current_platform.import_kernels()
        from vllm.vllm_flash_attn import is_fa_version_supported

        found["flash_attention_3"] = is_fa_version_supported(3)
    from eah_vllm.contract.check import check
    from eah_vllm.contract.names import NAMES

    check(NAMES)  # every name of vLLM that the plugin uses
    result.note(**found, seconds_to_import=round(time.monotonic() - begin, 1))


def main() -> int:
    """Note what is there, and check vLLM's kernels; 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    cpu = given.device == "cpu"
    versions = {name: installed(name) for name in ("torch", "triton", "transformers", "tokenizers", "numpy")}
    result = Result(given.json, nvidia_smi=nvidia_smi(), versions={"python": platform.python_version()} | versions)
    if not cpu:
        properties = torch.cuda.get_device_properties(0)
        result.note(
            card=properties.name,
            capability=f"{properties.major}.{properties.minor}",
            cuda=torch.version.cuda,
            gibibytes=round(properties.total_memory / 2**30, 1),
            processors=properties.multi_processor_count,
        )
    imports(result, cpu=cpu)
    if cpu:
        result.unchecked("vLLM's CUDA kernels", "there is no GPU")
        return int(result.failed)
    kernels = Kernels(result)
    kernels.elementwise()
    kernels.flash_attention()
    return int(result.failed)


if __name__ == "__main__":
    raise SystemExit(main())
