"""Methods that act on generated rows, in all layers of some steps: on the CPU, and on a pretended GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from eah_vllm.method.base import LayerStep
from eah_vllm.method.registry import METHODS
from eah_vllm.method.rows import LayerSize, RowBuffers
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.order import Order, image_free_id
from eah_vllm.settings import ModelShape
from eah_vllm.worker.batch_plan import BatchPlan
from eah_vllm.worker.intervention import Intervention
from eah_vllm.worker.request_state import RequestState
from tests.unit.attention_cases import random_qkv

SHAPE = ModelShape(6, 8)
KV_HEADS, HEAD_DIM = 4, 16
ASKED: dict[str, dict[str, Any]] = {
    "vhr": {"vhr": {"factor": 3.0}},
    "few heads": {"vhr": {"layers": [1, 3], "factor": 0.5}},
    "random heads": {"vhr": {"heads": "random", "seed": 2}},
    "clva": {"clva": {"alpha": 1.0}},
    "random direction": {"clva": {"direction": "random", "alpha": 2.0, "beta": 0.5}},
    "both": {"vhr": {"layers": [1]}, "clva": {}},
}
"""What some requests ask for; each has a slot, in this order from 1."""
LENGTHS = {name: 20 + 3 * idx for idx, name in enumerate(ASKED)}


def states(name: str, slot: int) -> list[RequestState]:
    """One request, with a state for each of its methods."""
    found = []
    for method, said in ASKED[name].items():
        options = METHODS[method].Options
        settings = METHODS[method].resolve(options(**said), options(), SHAPE)
        order = Order(method, settings, tag=f"{name} {method}", slot=slot)
        spans = (ImageSpan(2, 9), ImageSpan(10, 15))
        found.append(RequestState(name, order, LENGTHS[name], spans, pictures=(f"picture {slot}",)))
    return found


def image_free(name: str, slot: int) -> RequestState:
    """The image-free pass of a request, of 6 tokens."""
    order = Order("vhr", states(name, slot)[0].settings, slot=slot, is_image_free=True)
    return RequestState(image_free_id(name), order, 6, ())


def followed(rows: RowBuffers) -> Intervention:
    """The requests and their image-free passes, in a worker without a model."""
    intervention = Intervention()
    intervention.local_layers, intervention.rows = set(range(SHAPE.num_layers)), rows
    for slot, name in enumerate(ASKED, 1):
        if "vhr" in ASKED[name]:
            intervention.table.add(image_free(name, slot))
        intervention.table.add(*states(name, slot))
    return intervention


def plan(intervention: Intervention, *rows: tuple[str, int, int]) -> BatchPlan:
    """The plan of a step of (request, tokens computed earlier, tokens in this step)."""
    starts = [sum(tokens for _, _, tokens in rows[:idx]) for idx in range(len(rows))]
    req_ids, computed, scheduled = zip(*rows, strict=True)
    return intervention.plan_batch(req_ids, starts, computed, scheduled)


def buffers(device: torch.device) -> RowBuffers:
    """Buffers for all requests, and one slot more."""
    size = LayerSize(SHAPE.num_heads, HEAD_DIM)
    return RowBuffers(
        dict.fromkeys(range(SHAPE.num_layers), size), len(ASKED) + 1, 400, {"factor", "shift"},
        image_free=True, dtype=torch.float32, device=device,
    )  # fmt: skip


def step(
    intervention: Intervention, seed: int, count: int, to: Callable[[torch.Tensor], torch.Tensor]
) -> dict[int, Any]:
    """Run all layers of a step of `count` rows; the attention output of each is random, and is returned."""
    found = {}
    for layer in range(SHAPE.num_layers):
        generator = torch.Generator().manual_seed(100 * seed + layer)
        query, key, value = (to(m) for m in random_qkv(seed + layer, count, SHAPE.num_heads, KV_HEADS, HEAD_DIM))
        output = to(torch.randn(count, SHAPE.num_heads, HEAD_DIM, generator=generator))
        shards = HeadShards(0, 1, lambda local: local)
        at = LayerStep(
            layer, query, key, value, output, HEAD_DIM**-0.5, shards, lambda output=output: output,
            writes_cache=False, rows=intervention.rows,
        )  # fmt: skip
        if layer in intervention.plan.layers:
            intervention.act(at)
        intervention.apply_rows(layer, output)
        found[layer] = output
    return found


def everything(device: torch.device, to: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    """Image-free passes, then all prompts with a plain request between them, then a generated row of each."""
    intervention = followed(buffers(device))
    passes = [(image_free_id(name), 0, 6) for name in ASKED if "vhr" in ASKED[name]]
    prompts = [("plain", 3, 1), *((name, 0, LENGTHS[name]) for name in ASKED), ("plain too", 5, 2)]
    generated = [("plain", 4, 1), *((name, LENGTHS[name], 1) for name in ASKED)]
    found: dict[str, Any] = {}
    for seed, (name, rows) in enumerate({"passes": passes, "prompts": prompts, "generated": generated}.items()):
        intervention.set_plan(plan(intervention, *rows))
        found[name] = step(intervention, seed, sum(count for _, _, count in rows), to)
    collected = intervention.collect([f"{name} {method}" for name, said in ASKED.items() for method in said])
    return found | {"reports": collected["reports"]}
