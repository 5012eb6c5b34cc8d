"""The choice of a head in a prompt of 8,192 tokens takes at most 64 MiB, with 32 heads of 128."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.unit.test_triton_kernels import ROOT, V2_PYTHON

MOST_MIB, TOKENS = 64, 8192


def measured(python: str, *arguments: object, **environment: str) -> float:
    command = [python, "-m", "tests.unit.choice_memory", *map(str, arguments)]
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    ran = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return float(ran.stdout)


@pytest.mark.parametrize("num_kv_heads", [32, 2], ids=["mha", "gqa"])
def test_in_torch(num_kv_heads: int) -> None:
    """Of bfloat16, which is computed in float32. 2 key heads for 32 are GLM-4.1V's, the most of the table."""
    assert 8 < measured(sys.executable, "torch", 32, num_kv_heads, TOKENS) < MOST_MIB


def test_in_triton() -> None:
    """The interpreter is too slow for 8,192 tokens; what the launches allocate grows with tokens, and no faster."""
    few, many = (measured(V2_PYTHON, "triton", 8, 2, tokens, TRITON_INTERPRET="1") for tokens in (128, 256))
    assert 0 < few < many <= 2 * few
    assert many * (32 / 8) * (TOKENS / 256) < MOST_MIB
