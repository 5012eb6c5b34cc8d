"""The GPU kernels, run by Triton's interpreter, against `tests/naive.py` and the torch code that CPUs use.

The interpreter accepts what a GPU's compiler does not, so the kernels are compiled too, for GPUs that are not here.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from eah_vllm.kernels.tables import COLUMNS_PER_BLOCK, ROWS_PER_BLOCK, prompt_tables
from eah_vllm.method import sinks
from eah_vllm.method.attention import broadcast_attention
from tests import naive
from tests.unit.triton_cases import BLOCK, CASES, LENGTHS, Case

ROOT = Path(__file__).parents[2]
V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))
# Of values of size about 2. The interpreter cuts bfloat16 off where a GPU rounds, weights and result alike.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 5e-2}
SMALL = [name for name, case in CASES.items() if case.num_heads <= 2]
SHARED_MEMORY = {"A100": 163 << 10, "H100": 227 << 10, "MI300": 64 << 10}
"""What one program may have, in bytes."""


def child(module: str, path: Path, **environment: str) -> Any:
    """What that module saved."""
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    command = [V2_PYTHON, "-m", f"tests.unit.{module}", str(path)]
    result = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-6000:]
    return torch.load(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return child("triton_cases", tmp_path_factory.mktemp("triton") / "results", TRITON_INTERPRET="1")


@cache
def inputs(name: str) -> tuple[Case, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """The case, and each prompt's query, key and value."""
    case = CASES[name]
    qkv = case.qkv()
    return case, [tuple(matrix[rows] for matrix in qkv) for rows in case.rows()]  # type: ignore[misc]


@pytest.mark.parametrize("name", CASES)
def test_attention_received_equals_the_blocked_torch(name: str, results: Any) -> None:
    case, prompts = inputs(name)
    received = results[name]["received"].split([len(prompt.columns) for prompt in case.prompts], dim=1)
    for prompt, (query, key, _), got in zip(case.prompts, prompts, received, strict=True):
        expected = sinks.attention_received(query, key, torch.tensor(prompt.columns), case.scale)
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=2e-5)
        if prompt.columns[-1] == prompt.length - 1:  # nobody comes after the last row
            assert got[:, -1].eq(0).all()


@pytest.mark.parametrize("name", SMALL)
def test_attention_received_equals_the_naive_reference(name: str, results: Any) -> None:
    case, prompts = inputs(name)
    received = results[name]["received"].split([len(prompt.columns) for prompt in case.prompts], dim=1)
    for prompt, (query, key, _), got in zip(case.prompts, prompts, received, strict=True):
        ones = [1] * len(prompt.columns)
        expected = naive.mean_attention_received(query, key, prompt.columns, case.scale, ones)
        torch.testing.assert_close(got.double(), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_broadcast_equals_the_blocked_torch(name: str, results: Any) -> None:
    case, prompts = inputs(name)
    group, tolerance = case.num_heads // case.num_kv_heads, TOLERANCE[case.dtype]
    for prompt, rows, (query, key, value) in zip(case.prompts, case.rows(), prompts, strict=True):
        if prompt.source is None:
            continue
        source = query[:, prompt.source], key[:, prompt.source // group]
        expected = broadcast_attention(*source, value, case.num_heads, case.scale)
        torch.testing.assert_close(results[name]["output"][rows], expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", SMALL)
def test_broadcast_equals_the_naive_reference(name: str, results: Any) -> None:
    case, prompts = inputs(name)
    for prompt, rows, (query, key, value) in zip(case.prompts, case.rows(), prompts, strict=True):
        if prompt.source is not None and prompt.length <= BLOCK + 1:
            expected = naive.broadcast(query, key, value, prompt.source, case.scale)
            tolerance = TOLERANCE[case.dtype]
            torch.testing.assert_close(results[name]["output"][rows].double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_only_rows_of_prompts_that_say_so_are_written(name: str, results: Any) -> None:
    """They stay as they were, not a number; and what is written is numbers, though all foreign rows are none."""
    case, _ = inputs(name)
    output = results[name]["output"]
    written = torch.zeros(len(output), dtype=torch.bool)
    for prompt, rows in zip(case.prompts, case.rows(), strict=True):
        written[rows] = prompt.source is not None
    assert output[written].isfinite().all()
    assert output[~written].isnan().all()


def test_tables_describe_every_row_and_column_once() -> None:
    lengths, columns = [prompt.length for prompt in LENGTHS], [prompt.columns for prompt in LENGTHS]
    tables = prompt_tables(range(10, 15), lengths, columns, "cpu")
    assert tables.row_start.tolist() == [10, 11, 12, 13, 14]
    assert tables.length.tolist() == lengths
    assert tables.columns.tolist() == [column for positions in columns for column in positions]
    prompt_of_column = [i for i, positions in enumerate(columns) for _ in positions]
    first_rows = [(i, first) for i, length in enumerate(lengths) for first in range(0, length, ROWS_PER_BLOCK)]
    assert sorted(map(tuple, tables.row_blocks.tolist())) == first_rows
    indices = []
    for prompt, begin, end in tables.column_blocks.tolist():
        assert 0 < end - begin <= COLUMNS_PER_BLOCK
        assert prompt_of_column[begin:end] == [prompt] * (end - begin)
        indices += range(begin, end)
    assert indices == list(range(len(tables.columns)))
    for name in tables.__slots__:  # or a kernel would be compiled again for pointers of another alignment
        assert getattr(tables, name).data_ptr() % 16 == tables.row_start.data_ptr() % 16, name


def test_kernels_compile_for_gpus_and_fit_into_shared_memory(tmp_path: Path) -> None:
    """Ampere, Hopper and MI300, by Triton's own compilers; no GPU is needed to compile."""
    compiled = child(
        "triton_compile", tmp_path / "compiled", TRITON_CACHE_DIR=str(tmp_path / "cache"), TRITON_INTERPRET="0"
    )
    assert compiled.keys() == SHARED_MEMORY.keys()
    for gpu, shapes in compiled.items():
        for shared in shapes:
            assert len(shared) == 3
            assert all(0 < needed <= SHARED_MEMORY[gpu] for needed in shared.values()), (gpu, shared)
