"""The phases: what each runs, with which environment, and how many seconds it may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

BUDGET = 480
"""Seconds for everything, unpacking included."""
AT_ONCE = 6
"""Processes of the exactness phases that run together."""
STOCK = "exact_gqa_bfloat16_stock"
EXACT = {
    **{
        f"exact_{model}_{dtype}_{mode}": (model, dtype, mode)
        for mode in ("graphs", "eager")
        for dtype in ("bfloat16", "float32")
        for model in ("gqa", "mha")
    },
    STOCK: ("gqa", "bfloat16", "stock"),
    "exact_qwen2_vl_float32_eager": ("qwen2_vl", "float32", "eager"),
    "exact_qwen2_vl_bfloat16_graphs": ("qwen2_vl", "bfloat16", "graphs"),
}
"""By name of the phase: model, type and mode of its engine; stock vLLM compiles and captures graphs too."""
ALL_METHODS = {("mha", "graphs"), ("gqa", "eager")}
"""Model and mode of the engines that have all methods enabled; the others have EAH alone."""
REHEARSED_ON_CPU = ("exact_gqa_float32_eager", "exact_qwen2_vl_float32_eager")
"""Of the exactness phases; the others need compilers of CUDA code."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One process (and its children)."""

    name: str
    arguments: tuple[str, ...]
    """After `python -m`."""
    limit: float
    """Seconds after which it is stopped."""
    environment: dict[str, str] = field(default_factory=dict)


def groups(work: Path, *, cpu: bool, stand_in: bool) -> list[list[Phase]]:
    """Return the phases in order; those of one group run together, so nothing else runs while something is timed.

    Args:
        work: The folder in which the package was unpacked; results go to its `results`.
        cpu: Rehearse on a machine without a GPU, with tiny sizes: Triton's interpreter and vLLM for CPUs.
        stand_in: Rehearse with the stand-in CUDA runtime of `bench/gpu/dry`, on a few busy cores.
    """
    slower = 8 if cpu or stand_in else 1

    def phase(name: str, module: str, *arguments: str, limit: float, env: dict[str, str] | None = None) -> Phase:
        given = [*arguments, "--json", str(work / "results" / f"{name}.json")]
        if cpu:
            given += ["--device", "cpu"]
        return Phase(name, (module, *given), limit * slower, env or {})

    exact = []
    for name, (model, dtype, mode) in EXACT.items():
        if cpu and name not in REHEARSED_ON_CPU:
            continue
        more = [] if mode == "eager" else ["--graphs"]
        more += ["--stock"] if mode == "stock" else []
        more += ["--methods"] if (model, mode) in ALL_METHODS else []
        more += ["--cases", "6" if cpu else "3"] if cpu or stand_in else []
        # Several engines compile at once: each has its own cache, and few processes for compiling.
        env = {"VLLM_CACHE_ROOT": str(work / "cache" / name), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
        folder = str(work / "checkpoints" / model)
        exact.append(phase(name, "bench.gpu.exact", folder, "--dtype", dtype, *more, limit=120, env=env))
    small = ["--runs", "2"] if cpu or stand_in else []
    seven_b = ["--rounds", "1"] if cpu or stand_in else []
    planned = [
        [phase("facts", "bench.gpu.facts", limit=60)],
        exact,
        [phase("kernels", "bench.gpu.kernels", *small, limit=75)],
        [phase("seven_b", "bench.gpu.seven_b", *seven_b, limit=230)],
    ]
    if not stand_in:  # it compares values before it measures
        prefill = ["--tiny", "--runs", "2"] if cpu else ["--layers", "32", "--runs", "10"]
        planned.append([phase("prefill", "bench.gpu_prefill", *prefill, limit=75)])
    return planned


def chosen(planned: Iterable[list[Phase]], wanted: Iterable[str]) -> list[list[Phase]]:
    """Return the phases whose names begin with one of the wanted ones; all where none is named.

    Raises:
        ValueError: a wanted name is the beginning of no phase's name.
    """
    planned, wanted = list(planned), list(wanted)
    names = [phase.name for group in planned for phase in group]
    for word in wanted:
        if not any(name.startswith(word) for name in names):
            raise ValueError(f"no phase begins with {word!r}; there are {', '.join(names)}")
    kept = [[one for one in group if not wanted or one.name.startswith(tuple(wanted))] for group in planned]
    return [group for group in kept if group]
