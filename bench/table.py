"""Writes the tables of `docs/benchmarks.md` from `bench/results.json`."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.bars import HEADER, verdicts
from bench.gpu.tables import markdown, tables
from bench.op import DTYPES, HEADS
from tools import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
NOT_RUN = "not run: no GPU"
Results = Mapping[str, Any]


def _medians(rounds: Sequence[Mapping[str, Any]], setting: str, name: str) -> float:
    return statistics.median(float(row[setting][name]) for row in rounds)


def _to_stock(rounds: Sequence[Mapping[str, Any]], setting: str, name: str) -> str:
    return f"{statistics.median(row[setting][name] / row['stock'][name] for row in rounds):.3f}"


def acceptance(results: Results) -> str:
    """Make the table of all bars."""
    return markdown(HEADER, verdicts(results["figures"]))


def op(results: Results) -> str:
    """Make the table of op level: milliseconds for each shape."""
    rows, rounds = [], results["parts"]["op"]["rounds"]
    for heads in HEADS:
        for dtype in DTYPES:
            for group in (g for g in rounds if g.startswith(f"{heads}_{dtype}_s")):
                seen = {n: statistics.median(row[n] for row in rounds[group]) for n in rounds[group][0]}
                cells = [f"{1000 * seen[n]:.1f}" if n in seen else "does not fit" for n in OP_COLUMNS]
                naive = f"{seen['naive'] / seen['both']:.1f}" if "naive" in seen else ""
                shape = "/".join(map(str, HEADS[heads]))
                rows.append(
                    (group.rpartition("_s")[2], shape, dtype, *cells, f"{seen['both'] / seen['fused']:.2f}", naive)
                )
    header = ("S", "heads / kv heads", "dtype", *OP_COLUMNS, "both / fused", "naive / both")
    figures, facts = results["figures"], results["parts"]["op"]["facts"]
    peaks = ", ".join(f"{dtype} {figures[f'op_peak_mb_mha_{dtype}_s4096']['median']:.1f}" for dtype in DTYPES)
    memory = f"Extra memory at S = 4096, 32 heads, in MiB: {peaks}."
    if "naive_peak_mb_s2048" in facts:
        memory += f" The naive reference takes {facts['naive_peak_mb_s2048']:.0f} at S = 2048."
    return f"{markdown(header, rows)}\n\n{memory}"


OP_COLUMNS = ("choose", "broadcast", "both", "fused", "naive")


def engine(results: Results) -> str:
    """Make the table of engine level: seconds, and their ratios to stock vLLM."""
    part, figures = results["parts"]["engine"], results["figures"]
    rows = []
    for setting in ("stock", "off", "on"):
        ttft, tpot = figures[f"ttft_{setting}_seconds"], figures[f"tpot_{setting}_seconds"]
        cells = [f"{ttft['median']:.3f}", f"{1000 * tpot['median']:.2f}"]
        for metric in ("ttft", "tpot"):
            ratio = figures.get(f"{metric}_{setting}_over_stock")
            cells.append("1" if ratio is None else f"{ratio['median']:.4f} ({ratio['min']:.4f} to {ratio['max']:.4f})")
        rows.append((setting, *cells))
    facts = part["facts"]
    table = markdown(("setting", "TTFT, s", "per further token, ms", "TTFT / stock", "per token / stock"), rows)
    on = figures["ttft_on_over_stock_32layers"]
    return (
        f"{table}\n\n{facts['layers']} decoder layers, {facts['dtype']}. Stock takes"
        f" {facts['stock_seconds_per_layer']:.3f} s per layer ({facts['fewer_layers']} layers were timed too), so"
        f" {facts['stock_ttft_32layers']:.1f} s for 32; EAH, which acts in one layer, is then {on['median']:.4f} times"
        f" stock ({on['min']:.4f} to {on['max']:.4f})."
    )


def serving(results: Results) -> str:
    """Make the table of throughput and latency for each model, concurrency and setting."""
    rows = []
    for name in ("serving", "medium"):
        for group, rounds in results["parts"].get(name, {}).get("rounds", {}).items():
            model, _, concurrency = group.rpartition("_c")
            for setting in ("stock", "off", "on", "half"):
                rate = f"{_medians(rounds, setting, 'requests_per_second'):.2f}"
                cells = [
                    " / ".join(f"{_medians(rounds, setting, f'{metric}_p{p}_ms'):.1f}" for p in (50, 90, 99))
                    for metric in ("ttft", "tpot")
                ]
                work = ["not measured"] * 2
                if "server_cpu_ms" in rounds[0][setting]:
                    work = [
                        f"{_medians(rounds, setting, 'server_cpu_ms'):.1f}",
                        _to_stock(rounds, setting, "server_cpu_ms"),
                    ]
                to_stock = _to_stock(rounds, setting, "requests_per_second")
                rows.append((model, concurrency, setting, rate, to_stock, *cells, *work))
    header = (
        "model",
        "concurrency",
        "setting",
        "requests/s",
        "/ stock",
        "TTFT p50/p90/p99, ms",
        "TPOT p50/p90/p99, ms",
        "server's CPU, ms a request",
        "/ stock",
    )
    return markdown(header, rows)


def mixed(results: Results) -> str:
    """Make the table of latencies of the long plain prompts alone, and their ratios to stock vLLM."""
    part, figures = results["parts"]["mixed"], results["figures"]
    rows: list[Sequence[str]] = []
    for setting in ("stock", "again", "off", "half"):
        cells = []
        for metric in ("ttft_p50", "ttft_p99", "itl_p50", "itl_p99"):
            seen = f"{_medians(part['rounds']['mixed'], setting, f'{metric}_ms'):.1f}"
            ratio = figures.get(f"mixed_{metric}_{setting}_over_stock")
            cells.append(seen if ratio is None else f"{seen} ({ratio['median']:.3f})")
        rows.append((setting, *cells))
    facts = part["facts"]
    header = ("setting", "TTFT p50, ms (/ stock)", "TTFT p99", "between tokens p50", "between tokens p99")
    return (
        f"{markdown(header, rows)}\n\nPrompts of {facts['tokens'][0]} to {facts['tokens'][1]} tokens;"
        f" {facts['requests']} requests a round, {facts['concurrency']} at a time."
    )


def idle(results: Results) -> str:
    """Make the table of times of a token, on stock servers, with EAH alone and with every method enabled."""
    rows: list[Sequence[str]] = []
    for group, rounds in results["parts"]["idle"]["rounds"].items():
        for setting in rounds[0]:
            ratios = []
            for base in ("stock", "off", "on"):
                ratio = results["figures"].get(f"idle_tpot_{setting}_over_{base}_{group}")
                cell = "" if ratio is None else f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
                ratios.append(cell)
            rows.append((group.removeprefix("c"), setting, f"{_medians(rounds, setting, 'tpot_p50_ms'):.2f}", *ratios))
    return markdown(("concurrency", "setting", "TPOT p50, ms", "/ stock", "/ off", "/ on"), rows)


def published(results: Results) -> str:
    """Make the table of requests per second of the published code and of our server."""
    figures = results["figures"]
    names = {
        "published loop, one at a time": "published_requests_per_second",
        "`eah-vllm serve`, EAH on, concurrency 16": "on_requests_per_second",
        "ratio": "on_over_published_c16",
    }
    rows = [(k, *(f"{figures[name][n]:.2f}" for n in ("median", "min", "max"))) for k, name in names.items()]
    return markdown(("requests/s", "median", "min", "max"), rows)


def verify(results: Results) -> str:
    """Make the table of verified captions: time, throughput and processor time, and what the questions cost."""
    rows: list[Sequence[str]] = []
    for group, rounds in results["parts"]["verify"]["rounds"].items():
        for setting in rounds[0]:
            median = {name: _medians(rounds, setting, name) for name in rounds[0][setting]}
            cells = [
                f"{1000 * median['seconds_p50']:.0f} ({_ratio(rounds, setting, 'seconds_p50')})",
                f"{median['requests_per_second']:.2f} ({_ratio(rounds, setting, 'requests_per_second')})",
                f"{median['server_cpu_ms']:.1f} ({_ratio(rounds, setting, 'server_cpu_ms')})",
            ]
            asked = ["", "", ""]
            if median["asked"]:
                asked = [
                    f"{median[name]:.{digits}f}" for name, digits in (("asked", 1), ("tokens", 0), ("cached_tokens", 0))
                ]
            rows.append((group.rpartition("_c")[2], setting, *cells, *asked))
    header = (
        "concurrency", "setting", "a caption p50, ms (/ off)", "captions/s (/ off)", 
        "server's CPU, ms a caption (/ off)",
        "questions a caption", "their tokens", "of these cached",
    )  # fmt: skip
    return markdown(header, rows)


def _ratio(rounds: Sequence[Mapping[str, Any]], setting: str, name: str) -> str:
    return f"{statistics.median(row[setting][name] / row['off'][name] for row in rounds):.3f}"


def gpu(results: Results) -> str:
    """Make the tables of what `bench/gpu/run.sh` brought back from a machine with a GPU."""
    return tables(json.loads(GPU_RESULTS.read_text())) if GPU_RESULTS.exists() else NOT_RUN


GPU_RESULTS = ROOT / "bench" / "gpu" / "results.json"


def ran_on(results: Results) -> str:
    """Make the table of machine, versions, commit and command of each part."""
    rows = []
    for name, part in results["parts"].items():
        run = part["run"]
        machine, versions = run["machine"], run["versions"]
        rows.append((
            name, f"`{run['command']}`" + (" (tiny counts)" if run["quick"] else ""), run["date"], run["commit"],
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
            ", ".join(f"{package} {number}" for package, number in versions.items()),
        ))  # fmt: skip
    return markdown(("part", "command", "date", "commit", "machine", "versions"), rows)


TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "acceptance": ("", acceptance),
    "ran on": ("", ran_on),
    "op": ("op", op),
    "engine": ("engine", engine),
    "serving": ("serving", serving),
    "mixed": ("mixed", mixed),
    "idle": ("idle", idle),
    "published": ("published", published),
    "verify": ("verify", verify),
    "gpu": ("", gpu),
}
"""By the name in a table's markers: the part of the results that it needs, and the function that makes it."""


def write(results_path: Path, document: Path = DOCUMENT) -> None:
    """Replace the text between the markers of each table in the document.

    Raises:
        ValueError: the document lacks a table's markers.
    """
    results, text = json.loads(results_path.read_text()), document.read_text()
    for name, (part, make) in TABLES.items():
        if part and part not in results["parts"]:
            continue
        start, stop = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if start not in text or stop not in text:
            raise ValueError(f"{document}: no markers {start} and {stop}")
        made = f"{start}\n{make(results)}\n{stop}"
        text = re.sub(re.escape(start) + ".*?" + re.escape(stop), lambda _, m=made: m, text, flags=re.S)
    document.write_text(text)
