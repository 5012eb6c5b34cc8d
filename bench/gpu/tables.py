"""The Markdown tables of what a GPU check brought back; nothing here needs a GPU, Triton or vLLM."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Results = Mapping[str, Any]
VERDICTS = {True: "yes", False: "**no**", None: "not judged"}


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def number(value: float | None, digits: int = 3) -> str:
    """Format a number for a cell of a table."""
    return "unknown" if value is None else f"{value:.{digits}f}"


def tables(combined: Results) -> str:
    """Make all tables of one run of `bench/gpu/run.sh`.

    Raises:
        ValueError: the run was a rehearsal, so its figures say nothing of a GPU.
    """
    if combined["rehearsal"] or combined["stand_in"]:
        raise ValueError("bench/gpu/results.json is of a rehearsal; only what a GPU computed belongs into the tables")
    results = combined["results"]
    parts = [ran_on(combined), exact(combined)]
    if "groups" in results.get("seven_b", {}):
        parts += [seven_b(results["seven_b"]), beside_long(results["seven_b"]), memory(results["seven_b"])]
    if "operations" in results.get("kernels", {}):
        parts.append(kernels(results["kernels"]))
    if results.get("prefill", {}).get("prefill"):
        parts.append(prefill(results["prefill"]))
    return "\n\n".join(filter(None, parts))


def ran_on(combined: Results) -> str:
    """Say on what it ran, and how each phase ended."""
    facts = combined["results"].get("facts", {})
    packages = ", ".join(f"{name} {found}" for name, found in facts.get("versions", {}).items())
    rows = [
        ("card, driver, memory, clock, power", facts.get("nvidia_smi", "unknown")),
        ("machine", combined["machine"]),
        ("versions", f"vllm {facts.get('vllm', 'unknown')}, CUDA {facts.get('cuda', 'unknown')}, {packages}"),
        ("date, commit", f"{combined['date']}, {combined['commit']}"),
        ("command", f"`{combined['command']}`"),
        ("phases", "; ".join(f"{n} {p['outcome']}, {p['seconds']:.0f} s" for n, p in combined["phases"].items())),
    ]
    return markdown(("what", "seen"), rows)


def exact(combined: Results) -> str:
    """Make the table of all comparisons, those of engines with each other last."""
    found = [(name, row) for name, result in combined["results"].items() for row in result.get("rows", ())]
    found += [("between engines", row) for row in combined["between_engines"]]
    rows = []
    for name, row in found:
        count = f"{row['right']} of {row['of']}" if "right" in row else row["why"]
        worst = "" if row.get("worst") is None else f"{row['worst']:.1e}"
        rows.append((name, row["check"], VERDICTS[row["passed"]], count, worst))
    return markdown(("phase", "comparison", "passed", "right", "largest difference"), rows)


def _cell(rounds: Sequence[Results], setting: str, metric: str, scale: float) -> str:
    seen = statistics.median(row[setting][metric] for row in rounds) * scale
    if setting == "stock":
        return f"{seen:.2f}"
    ratios = [row[setting][metric] / row["stock"][metric] for row in rounds]
    return f"{seen:.2f} ({statistics.median(ratios):.4f}; {min(ratios):.4f} to {max(ratios):.4f})"


def _table(result: Results, groups: Iterable[str], metrics: Mapping[str, tuple[str, float]]) -> str:
    rows = []
    for group in groups:
        rounds = result["groups"][group]
        for setting in ("stock", "off", "on", "half"):
            if setting in rounds[0]:
                cells = [_cell(rounds, setting, metric, scale) for metric, (_, scale) in metrics.items()]
                rows.append((group, setting, *cells, len(rounds)))
    header = ("requests", "setting", *(title for title, _ in metrics.values()), "rounds")
    return markdown(header, rows)


def seven_b(result: Results) -> str:
    """Make the table of LLaVA-1.5-7B's geometry; behind a value its ratio to stock, in the same round."""
    groups = [group for group in result["groups"] if group.endswith("at once")]
    metrics = {
        "ttft": ("TTFT, ms (/ stock)", 1e3),
        "tpot": ("per further token, ms (/ stock)", 1e3),
        "tokens_per_second": ("tokens/s (/ stock)", 1.0),
    }
    cache = result["options"]["kv_cache_memory_bytes"] >> 30
    return f"{_table(result, groups, metrics)}\n\n{result['layers']} decoder layers, KV cache of {cache} GiB."


def beside_long(result: Results) -> str:
    """Make the table of long prompts of text, which vLLM splits over steps, beside requests with a picture."""
    name = "beside long prompts"
    if name not in result["groups"]:
        return ""
    long, length, requests, _ = result["long"]
    metrics = {"ttft_long": ("TTFT of long prompts, ms (/ stock)", 1e3), "ttft_pictures": ("TTFT of others, ms", 1e3)}
    return f"{_table(result, [name], metrics)}\n\n{long} prompts of {length} tokens beside {requests} with a picture."


def memory(result: Results) -> str:
    """Say what a batch takes at its peak."""
    if "memory" not in result:
        return ""
    seen = result["memory"]["mebibytes"]
    each = ", ".join(f"{setting} {one['peak'] - one['before']:.0f}" for setting, one in seen.items())
    return (
        f"Device memory beyond weights and cache at the peak of {result['memory']['requests']} requests, MiB: {each}."
    )


def kernels(result: Results) -> str:
    """Make the table of one layer's operations; a ratio is of the same round."""
    rows = []
    for row in result["operations"]:
        cells = [number(row["milliseconds"]["median"], 4), number(row["over_ordinary"]["median"], 2)]
        cells += [number(row.get("over_floor"), 2), number(row["extra_megabytes"], 1)]
        rows.append((row["shape"], row["operation"], *cells))
    return markdown(("shape", "operation", "ms", "/ FlashAttention 3", "/ floor", "extra MiB"), rows)


def prefill(result: Results) -> str:
    """Make the tables of `bench/gpu_prefill.py`: a 7B model in transformers, and one layer's operations."""
    lines = [f"{result['device']}; {result['versions']}; commit {result['commit']}; `{result['command']}`", ""]
    rows = []
    for row in result["prefill"]:
        off, on = (number(row["over_stock"][setting]["median"], 4) for setting in ("off", "on"))
        rows.append((row["shape"], row["layers"], number(row["milliseconds"]["stock"]["median"]), off, on))
    lines += [markdown(("prefill", "layers", "stock, ms", "EAH off / stock", "EAH on / stock"), rows), ""]
    rows = []
    names = ("over_fused_attention", "extra_megabytes", "percent_of_flop_peak", "percent_of_bandwidth_peak")
    for row in result["operations"]:
        cells = [number(row["milliseconds"]["median"], 4), *(number(row[name], 2) for name in names)]
        rows.append((row["shape"], row["operation"], *cells))
    header = ("shape", "operation", "ms", "/ fused attention", "extra MB", "% of FLOP peak", "% of bandwidth peak")
    return "\n".join([*lines, markdown(header, rows)])
