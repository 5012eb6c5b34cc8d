"""Engine level, with the sizes of LLaVA-1.5-7B: TTFT and time per further token for stock vLLM, EAH off and EAH on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.checkpoint import MEDIUM, Geometry, llava_7b, make_checkpoint
from bench.children import Child, wait_until_idle
from bench.results import Part, rotated, say, summary

SETTINGS = ("stock", "off", "on")
LAYERS_7B = 32
SIDE = 336
OPTIONS: dict[str, Any] = {
    "load_format": "dummy",
    "max_model_len": 1024,
    "max_num_seqs": 4,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 512 << 20,
    "limit_mm_per_prompt": {"image": 1},
}


@contextmanager
def engines(folder: Path, geometry: Geometry, dtype: str, kinds: Sequence[str]) -> Iterator[dict[str, Child]]:
    """Start one engine of each kind, "stock" (no plugin) or "plugin", for a model of this geometry."""
    model = make_checkpoint(folder / f"{geometry.layers}-layers", geometry)
    with ExitStack() as stack:
        alive = {}
        for kind in kinds:
            say(f"engine: starting {kind}, {geometry.layers} layers, {dtype}")
            alive[kind] = stack.enter_context(
                Child("bench.engine_child", {"VLLM_PLUGINS": {"stock": ""}.get(kind, "eah")})
            )
            alive[kind].call("start", str(model), OPTIONS | {"dtype": dtype})
        yield alive


def measure(folder: Path, rounds: int, part: Part, *, layers: int, fewer: int, quick: bool) -> None:
    """Fill `part` with rounds of all settings, and with rounds of stock vLLM alone with fewer layers."""
    dtype, tokens = "bfloat16", 4 if quick else 24

    def geometry(layers: int) -> Geometry:
        return dataclasses.replace(MEDIUM, layers=layers) if quick else llava_7b(layers)

    with engines(folder, geometry(fewer), dtype, ["stock"]) as alive:
        for round_idx in range(-1, rounds):
            row = {"stock": alive["stock"].call("request", 100 + round_idx, SIDE, tokens, False)}
            say(f"engine {fewer} layers round {round_idx + 1} of {rounds}: {_line(row)}")
            if round_idx >= 0:
                part.add_round("fewer_layers", row)
    with engines(folder, geometry(layers), dtype, ["stock", "plugin"]) as alive:
        _rounds(alive, rounds, part, tokens)
    part.facts |= {"layers": layers, "fewer_layers": fewer, "dtype": dtype, "options": OPTIONS, "tokens": tokens}
    _figures(part, layers, fewer)


def _rounds(alive: dict[str, Child], rounds: int, part: Part, tokens: int) -> None:
    for round_idx in range(-1, rounds):  # the first round warms up and is not kept
        row: dict[str, Any] = {}
        for place, setting in enumerate(rotated(SETTINGS, round_idx)):
            engine = alive["stock" if setting == "stock" else "plugin"]
            wait_until_idle(*(other.pid for other in alive.values()))
            # A picture that this engine saw under another setting would come out of its encoder cache.
            seed = 1 + place + len(SETTINGS) * (round_idx + 1)
            row[setting] = engine.call("request", seed, SIDE, tokens, setting == "on")
            if setting != "stock" and (seen := engine.call("applied")) != (setting == "on"):
                raise RuntimeError(f"EAH {setting}: applied to {seen} requests")
        say(f"engine round {round_idx + 1} of {rounds}: {_line(row)}")
        if round_idx >= 0:
            part.add_round("all_layers", row)


def _line(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} TTFT {row[name]['ttft']:.3f} s + {row[name]['tpot']:.4f} s/token" for name in sorted(row))


def _figures(part: Part, layers: int, fewer: int) -> None:
    def ttft_32(row: dict[str, Any]) -> float:
        return float(row["stock"]["ttft"]) + per_layer * (LAYERS_7B - layers)

    few = summary([row["stock"]["ttft"] for row in part.rounds["fewer_layers"]])["median"]
    many = summary([row["stock"]["ttft"] for row in part.rounds["all_layers"]])["median"]
    per_layer = (many - few) / (layers - fewer)
    part.facts |= {"stock_seconds_per_layer": per_layer, "stock_ttft_32layers": many + per_layer * (LAYERS_7B - layers)}
    group = "all_layers"
    # EAH acts in one layer, however many layers there are, so its seconds are added and not scaled.
    part.figure(
        "ttft_on_over_stock_32layers",
        group,
        lambda row: (ttft_32(row) + row["on"]["ttft"] - row["stock"]["ttft"]) / ttft_32(row),
    )
    part.figure("ttft_on_over_stock", group, lambda row: row["on"]["ttft"] / row["stock"]["ttft"])
    part.figure("ttft_off_over_stock", group, lambda row: row["off"]["ttft"] / row["stock"]["ttft"])
    part.figure("tpot_on_over_stock", group, lambda row: row["on"]["tpot"] / row["stock"]["tpot"])
    part.figure("tpot_off_over_stock", group, lambda row: row["off"]["tpot"] / row["stock"]["tpot"])
    for setting in SETTINGS:
        for metric in ("ttft", "tpot"):
            part.figure(f"{metric}_{setting}_seconds", group, lambda row, s=setting, m=metric: row[s][m])
