"""What GPUs would run for a step's prompts, on a pretended GPU: its results, its launches, and that nothing waits.

Run as a module it saves what it found: the process then has Triton's interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from eah_vllm.method import backend
from eah_vllm.method.base import LayerStep, Part, Parts
from eah_vllm.method.eah import EAH
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import EAHOptions
from eah_vllm.order import Order
from eah_vllm.settings import ModelShape, resolve
from eah_vllm.worker.batch_plan import BatchPlan
from eah_vllm.worker.host_copy import on_host
from eah_vllm.worker.intervention import Intervention
from eah_vllm.worker.request_state import RequestState
from tests.unit.attention_cases import random_qkv
from tests.unit.pretend_gpu import GPU, OnGPU, PretendedGPU, pretended_gpu
from tests.unit.prompt_batch_case import Ranks
from tests.unit.row_methods_case import everything
from tests.unit.wait_cases import seen

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
SCALE = HEAD_DIM**-0.5
LAYERS = (1, 2)
COUNTS = (1, 8, 32)
OPTIONS: list[dict[str, Any]] = [
    {"relative_threshold": 1.2},
    {"threshold": 0.03},
    {"relative_threshold": 1.2, "head": "sparsest"},
    {"threshold": 0.9},  # no sink anywhere
    {"relative_threshold": 1.2, "head": 3},
    {"relative_threshold": 1.1, "min_density": 0.9},
    {"relative_threshold": 1.2, "head": "random", "seed": 3},
    {"preset": "released_code", "layer": list(LAYERS), "threshold": 0.0001},
    {"relative_threshold": 1.0, "min_density": 0.25},
    {"preset": "released_code", "layer": list(LAYERS), "head": 0},
    {"threshold": 0.9, "head": "random"},
]


def prompts(count: int) -> Parts[RequestState]:
    """Prompts of mixed options and lengths with one to three images, a foreign row before every one."""
    parts, start = [], 1
    for idx in range(count):
        said = EAHOptions(**{"layer": list(LAYERS)} | OPTIONS[idx % len(OPTIONS)])
        settings = resolve(said, EAHOptions(), ModelShape(4, HEADS))
        length = 75 if idx == 5 else 22 + 7 * idx % 30
        images = 1 + idx % 3
        width = (length - 2) // images
        spans = tuple(ImageSpan(2 + image * width, 1 + (image + 1) * width) for image in range(images))
        state = RequestState(f"r{idx}", Order("eah", settings), length, spans, pictures=(f"picture {idx % 5}",))
        parts.append(Part(state, start, idx))
        start += length + 1
    # Some steps ask whether every row will be overwritten.
    return Parts(tuple(parts), are_everything=count == COUNTS[1])


def alone(part: Part[RequestState]) -> Parts[RequestState]:
    """One prompt as if it were the step's only one that is changed."""
    return Parts((part,))


def qkv(batch: Parts[RequestState], layer: int) -> list[torch.Tensor]:
    """Of the whole step; a prompt has the same rows in each."""
    most = prompts(COUNTS[-1]).parts[-1].rows.stop + 1
    matrices = random_qkv(layer, most, HEADS, KV_HEADS, HEAD_DIM)
    return [matrix[: batch.parts[-1].rows.stop + 1] for matrix in matrices]


def step(
    layer: int, matrices: Sequence[torch.Tensor], shards: HeadShards, attention: Callable[[], None] = lambda: None
) -> LayerStep:
    """A layer whose ordinary attention gives sevens."""
    query, key, value = matrices
    output = torch.full_like(query, 7.0, memory_format=torch.contiguous_format)

    def ordinary() -> torch.Tensor:
        attention()
        return output

    return LayerStep(layer, query, key, value, output, SCALE, shards, ordinary, writes_cache=False)


ONE_RANK = HeadShards(0, 1, lambda local: local)


def together(batch: Parts[RequestState], gpu: PretendedGPU) -> dict[str, Any]:
    """All prompts at once, in all layers, and what was launched in each."""
    intervention = Intervention()
    intervention.set_plan(BatchPlan({layer: {"eah": batch} for layer in LAYERS}))
    found: dict[str, Any] = {"chosen": {}, "launched": {}, "output": {}}
    for layer in LAYERS:

        def has_chosen(layer: int = layer) -> None:
            found["chosen"][layer] = dict(gpu.launched)

        at = step(layer, [OnGPU(matrix) for matrix in qkv(batch, layer)], ONE_RANK, has_chosen)
        gpu.launched.clear()
        intervention.act(at)
        found["launched"][layer] = dict(gpu.launched)
        found["output"][layer] = at.output.values  # type: ignore[attr-defined]
    found["reports"] = [state.report().to_dict() for state in batch.states]
    found["choices"] = {
        layer: torch.stack([state.outcomes[layer].numbers for state in batch.states]) for layer in LAYERS
    }
    return found


def one_by_one(batch: Parts[RequestState]) -> dict[str, Any]:
    """What the kernels give for each prompt alone: the attention that its image tokens receive, and its rows."""
    received, rows = {}, {}
    kernels = backend.attention_received

    def recorded(one: Parts[Any], *args: Any) -> torch.Tensor:
        return received.setdefault((layer, one.parts[0].batch_idx), kernels(one, *args))

    backend.attention_received = recorded
    for layer in LAYERS:
        matrices = qkv(batch, layer)
        for part in batch.parts:
            at = step(layer, matrices, ONE_RANK)
            EAH().on_prompts(at, alone(part))
            rows[layer, part.batch_idx] = at.output[part.rows].clone()
    backend.attention_received = kernels
    return {"received": received, "rows": rows}


def ranks(batch: Parts[RequestState], gpu: PretendedGPU) -> dict[str, Any]:
    """The choices and rows of two tensor-parallel ranks, and what each launched."""
    both, half, kv_half, layer = Ranks(), HEADS // 2, KV_HEADS // 2, LAYERS[0]
    matrices = qkv(batch, layer)
    for _ in range(3):  # two sums depend on each other; the third pass has both
        choices, outputs, launched = [], [], []
        for rank in range(2):
            heads, kv_heads = slice(rank * half, (rank + 1) * half), slice(rank * kv_half, (rank + 1) * kv_half)
            mine = matrices[0][:, heads], matrices[1][:, kv_heads], matrices[2][:, kv_heads]
            at = step(layer, [OnGPU(matrix) for matrix in mine], both.shards(rank))
            gpu.launched.clear()
            host, _ = on_host(EAH().on_prompts(at, Parts(batch.parts)))
            launched.append(dict(gpu.launched))
            choices.append(host)
            outputs.append(at.output.values)  # type: ignore[attr-defined]
        both.end_of_pass()
    return {"choices": choices, "output": torch.cat(outputs, dim=1), "launched": launched}


def run() -> dict[str, Any]:
    """Everything, by number of prompts."""
    largest = prompts(COUNTS[-1])
    found: dict[str, Any] = {"alone": one_by_one(largest)}
    with pretended_gpu() as gpu:
        for count in COUNTS:
            found[f"{count}"] = together(prompts(count), gpu)
        for count in COUNTS[:2]:
            found[f"{count} on ranks"] = ranks(prompts(count), gpu)
        found["waits seen"] = seen()
        rows = everything(GPU, OnGPU)
    for step_name in ("passes", "prompts", "generated"):
        rows[step_name] = {layer: output.values for layer, output in rows[step_name].items()}
    found["rows"] = rows
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(run(), sys.argv[1])
