"""Phase c: LLaVA-1.5-7B's geometry, random weights, compiled, with CUDA graphs: stock, off, on and half, in turns.

Two engines share the card, one without the plugin. Rounds go through all settings, each round in another order; what
is compared was measured in the same round. The file is complete after each group of rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bench.checkpoint import Geometry, llava_7b, make_checkpoint
from bench.children import Child, exit_on_sigterm
from bench.gpu.rows import STAND_IN, Result
from bench.results import rotated

TINY = Geometry(
    layers=2, hidden=256, heads=4, intermediate=512, vocabulary=512,
    vision_layers=2, vision_hidden=64, vision_intermediate=128,
)  # fmt: skip
POSITIONS = 16384
SETTINGS = ("stock", "off", "on", "half")


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    geometry: Geometry
    groups: tuple[tuple[int, int], ...]
    """Requests at once, and tokens of each."""
    long: tuple[int, int, int, int] | None
    """Long prompts, their length, requests with a picture beside them, tokens of each; None: left out."""
    rounds: int
    options: dict[str, Any]


def sizes(device: str, layers: int, rounds: int) -> Sizes:
    """Return the sizes for this device: a CPU only shows that all of it runs."""
    common: dict[str, Any] = {"load_format": "dummy", "dtype": "bfloat16", "limit_mm_per_prompt": {"image": 1}}
    if device == "cpu":
        small = {"max_model_len": 2048, "max_num_batched_tokens": 1024, "max_num_seqs": 4, "enforce_eager": True}
        geometry = dataclasses.replace(TINY, positions=POSITIONS)
        return Sizes(
            geometry, ((1, 3), (2, 3)), (1, 1500, 2, 2), 1, common | small | {"kv_cache_memory_bytes": 64 << 20}
        )
    gibibytes = torch.cuda.get_device_properties(0).total_memory >> 30
    cache = max(4, min(24, (gibibytes - 40) // 2))  # two engines, each with 13 GiB of weights and what computing takes
    options = {
        "max_model_len": 8192,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 4096,
        "kv_cache_memory_bytes": cache << 30,
        "gpu_memory_utilization": 0.1,
    }
    geometry = dataclasses.replace(llava_7b(layers), positions=POSITIONS)
    if STAND_IN:  # it gives every request one token a step, so no prompt may be split
        return Sizes(geometry, ((1, 4), (4, 4)), None, rounds, common | options)
    return Sizes(geometry, ((1, 64), (16, 32), (64, 32)), (3, 6000, 12, 8), rounds, common | options)


class Rounds:
    """Both engines, and the rounds that were made with them."""

    def __init__(self, stock: Child, plugin: Child, chosen: Sizes, result: Result) -> None:
        self.stock, self.plugin, self.chosen, self.result = stock, plugin, chosen, result
        self.seeds = itertools.count(1)
        self.groups: dict[str, list[dict[str, Any]]] = {}

    def measure(self, name: str, settings: tuple[str, ...], expected: dict[str, int], call: str, *sizes: int) -> None:
        """Make one round to warm up and then as many as were chosen, and write them."""
        right = of = 0
        for round_idx in range(-1, self.chosen.rounds):
            row: dict[str, Any] = {}
            for setting in rotated(settings, round_idx):
                engine = self.stock if setting == "stock" else self.plugin
                # A picture that this engine saw under another setting would come out of its encoder cache.
                row[setting] = engine.call(call, next(self.seeds), *sizes, setting)
                if setting != "stock":
                    of += 1
                    right += engine.call("applied") == expected.get(setting, 0)
            if round_idx >= 0:
                self.groups.setdefault(name, []).append(row)
            self.result.note(groups=self.groups)
        self.result.row(f"{name}: EAH was applied to exactly those that asked for it", right, of)

    def memory(self, requests: int, tokens: int) -> None:
        """Measure what a batch takes at its peak beyond weights and cache, in MiB."""
        seen: dict[str, Any] = {}
        for setting in ("stock", "off", "on"):
            engine = self.stock if setting == "stock" else self.plugin
            before = engine.call("memory", True)
            engine.call("batch", next(self.seeds), requests, tokens, setting)
            after = engine.call("memory", False)
            if before is not None and after is not None:
                seen[setting] = {"before": before["now"], "peak": after["peak"]}
        self.plugin.call("applied")
        if seen:
            self.result.note(memory={"requests": requests, "mebibytes": seen})
        else:
            self.result.unchecked("peak memory", "there is no GPU")


def main() -> int:
    """Start both engines and measure; 1 if EAH was not applied as it was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    chosen = sizes(given.device, given.layers, given.rounds)
    result = Result(
        given.json, layers=chosen.geometry.layers, options=chosen.options, groups_of=chosen.groups, long=chosen.long
    )
    exit_on_sigterm()  # the runner asks first, and the engines end with this process
    begin = time.monotonic()
    environment = {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}  # vLLM's own switch for calls of our function in a worker
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("bench.gpu.seven_b_child", environment | {"VLLM_PLUGINS": ""}) as stock,
        Child("bench.gpu.seven_b_child", environment | {"VLLM_PLUGINS": "eah"}) as plugin,
    ):
        model = str(make_checkpoint(Path(folder) / "7b", chosen.geometry))
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda child: child.call("start", model, chosen.options), (stock, plugin)))
        result.note(seconds_to_start=round(time.monotonic() - begin, 1))
        rounds = Rounds(stock, plugin, chosen, result)
        for requests, tokens in chosen.groups:
            settings = SETTINGS if requests > 1 else SETTINGS[:3]
            expected = {"on": requests, "half": requests // 2}
            rounds.measure(f"{requests} at once", settings, expected, "batch", requests, tokens)
        if chosen.long is None:
            result.unchecked("beside long prompts", "the stand-in for a GPU splits no prompt")
        else:
            expected = {"on": chosen.long[2]}
            rounds.measure("beside long prompts", SETTINGS[:3], expected, "beside_long", *chosen.long)
        rounds.memory(*chosen.groups[1])
    return int(result.failed)


if __name__ == "__main__":
    raise SystemExit(main())
