"""The tables of what a GPU check brings back, from figures of our own making in the form that the phases write."""

from __future__ import annotations

from typing import Any

import pytest

from bench.gpu.tables import tables


def one_round(*figures: float) -> dict[str, dict[str, float]]:
    names = ("ttft", "tpot", "tokens_per_second")
    return {
        "stock": dict(zip(names, figures[:3], strict=True)),
        "on": dict(zip(names, figures[3:], strict=True)),
    }


ROUNDS = [
    one_round(0.030, 0.010, 100.0, 0.033, 0.010, 98.0),
    one_round(0.020, 0.010, 100.0, 0.020, 0.011, 99.0),
    one_round(0.040, 0.010, 100.0, 0.041, 0.010, 97.0),
]
LONG = [{setting: {"seconds": 1.0, "ttft_long": 0.5, "ttft_pictures": 0.25} for setting in ("stock", "off", "on")}]
SUMMARY = {"median": 0.5, "min": 0.4, "max": 0.6, "runs": 3}


def combined() -> dict[str, Any]:
    seven_b = {
        "layers": 32,
        "options": {"kv_cache_memory_bytes": 21 << 30},
        "long": [3, 6000, 12, 8],
        "groups": {"16 at once": ROUNDS, "beside long prompts": LONG},
        "memory": {"requests": 16, "mebibytes": {"stock": {"before": 100.0, "peak": 350.4}}},
        "rows": [{"check": "applied", "passed": True, "right": 15, "of": 15, "worst": None}],
    }
    operation = {"shape": "S 648", "operation": "choose", "milliseconds": SUMMARY, "extra_megabytes": 1.0}
    kernels = {"operations": [operation | {"over_ordinary": SUMMARY, "over_floor": 2.0}], "rows": []}
    costs = dict.fromkeys(("over_fused_attention", "percent_of_flop_peak", "percent_of_bandwidth_peak"), 1.5)
    prefill = {
        "device": "H100",
        "versions": "torch",
        "commit": "abc",
        "command": "python",
        "prefill": [
            {
                "shape": "S 648",
                "layers": 32,
                "over_stock": {"off": SUMMARY, "on": SUMMARY},
                "milliseconds": {"stock": SUMMARY},
            }
        ],
        "operations": [operation | costs],
    }
    facts = {"vllm": "0.32.0", "cuda": "13.0", "nvidia_smi": "H100, 580", "versions": {"torch": "2.11.0"}, "rows": []}
    return {
        "rehearsal": False,
        "stand_in": False,
        "machine": "16 cores",
        "date": "today",
        "commit": "abc",
        "command": "bench/gpu/run.sh",
        "phases": {"facts": {"outcome": "rc 0", "seconds": 12.0}},
        "between_engines": [{"check": "tokens", "passed": None, "right": 24, "of": 25}],
        "results": {"facts": facts, "seven_b": seven_b, "kernels": kernels, "prefill": prefill},
    }


@pytest.mark.parametrize(
    "line",
    [
        "| versions | vllm 0.32.0, CUDA 13.0, torch 2.11.0 |",
        "| between engines | tokens | not judged | 24 of 25 |  |",
        "| 16 at once | stock | 30.00 | 10.00 | 100.00 | 3 |",
        # The median of the ratios of each round, not the ratio of the medians.
        "| 16 at once | on | 33.00 (1.0250; 1.0000 to 1.1000) | 10.00 (1.0000; 1.0000 to 1.1000)"
        " | 98.00 (0.9800; 0.9700 to 0.9900) | 3 |",
        "32 decoder layers, KV cache of 21 GiB.",
        "| beside long prompts | on | 500.00 (1.0000; 1.0000 to 1.0000) | 250.00 (1.0000; 1.0000 to 1.0000) | 1 |",
        "Device memory beyond weights and cache at the peak of 16 requests, MiB: stock 250.",
        "| S 648 | choose | 0.5000 | 0.50 | 2.00 | 1.0 |",
        "| S 648 | 32 | 0.500 | 0.5000 | 0.5000 |",
        "| S 648 | choose | 0.5000 | 1.50 | 1.00 | 1.50 | 1.50 |",
    ],
)
def test_every_table_has_its_line(line: str) -> None:
    assert line in tables(combined()).splitlines()


@pytest.mark.parametrize("flag", ["rehearsal", "stand_in"])
def test_a_rehearsal_makes_no_tables(flag: str) -> None:
    with pytest.raises(ValueError, match="rehearsal"):
        tables(combined() | {flag: True})


def test_phases_that_brought_nothing_back_have_no_table() -> None:
    made = tables(combined() | {"results": {}})
    assert "at once" not in made
    assert "| phase | comparison |" in made
