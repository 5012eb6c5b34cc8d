"""`python -m bench.step_profile`: which of our functions a request spends its time in, without EAH and with it.

One engine in one process, no HTTP, 16 requests at a time about pictures of noise. The profiler makes every Python call
slower, so its milliseconds are to be compared with each other only; those of the clock, without it, stand apart. Calls
can be compared between servers too: `--methods eah` and `--methods all` show what methods cost that nobody asks for.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.in_process import AT_A_TIME, engine, noise_prompts

ROOT = Path(__file__).parents[1]
OURS, VLLM = str(ROOT / "eah_vllm") + os.sep, os.sep + "vllm" + os.sep
INHERITED = "decorate_context"
"""Name of the wrapper that torch.inference_mode puts around vLLM's own `execute_model`, which ours calls."""
TOKENS = 32
Function = tuple[str, int, str]


def main() -> None:
    """Profile the engine without and with EAH, and print where the time goes."""
    parser = argparse.ArgumentParser(prog="python -m bench.step_profile", description=__doc__)
    parser.add_argument("--requests", type=int, default=160, help="of each run (160)")
    parser.add_argument("--runs", type=int, default=5, help="interleaved, by the clock (5)")
    parser.add_argument("--lines", type=int, default=12, help="of the table (12)")
    parser.add_argument("--methods", default="all", help="enabled at start, with commas between them (all)")
    arguments = parser.parse_args()
    enabled = arguments.methods if arguments.methods == "all" else arguments.methods.split(",")
    llm = engine(additional_config={"eah": {"methods": enabled}})
    _run(llm, AT_A_TIME, eah=True, seed=1000)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for idx in range(arguments.runs):
        for eah in (False, True) if idx % 2 else (True, False):
            seconds[eah].append(_run(llm, arguments.requests, eah=eah, seed=2 * idx + eah))
    for eah, runs in seconds.items():
        each = 1000 * np.array(runs) / arguments.requests
        clock = f"{np.median(each):.2f} ms a request by the clock ({each.min():.2f} to {each.max():.2f})"
        sys.stdout.write(f"{'on' if eah else 'off'}: {clock}\n")
    for eah in (False, True):
        profile = cProfile.Profile()
        profile.enable()
        _run(llm, arguments.requests, eah=eah, seed=2000 + eah)
        profile.disable()
        _tell(pstats.Stats(profile).stats, eah, arguments.requests, arguments.lines)  # type: ignore[attr-defined]


def _run(llm: Any, number: int, *, eah: bool, seed: int) -> float:
    from vllm import SamplingParams

    prompts = noise_prompts(number, seed, "Describe the image.")
    params = SamplingParams(
        temperature=0, max_tokens=TOKENS, ignore_eos=True, extra_args={"eah": 1} if eah else None, detokenize=False
    )
    started = time.perf_counter()
    llm.generate(prompts, params, use_tqdm=False)
    took = time.perf_counter() - started
    (counts,) = llm.collective_rpc("eah_collect", args=([],))
    assert counts["outcomes"].get("eah", {}).get("applied", 0) == (number if eah else 0), counts
    return took


def _tell(stats: dict[Function, Any], eah: bool, requests: int, lines: int) -> None:
    per_request = 1000 / requests
    ours, ours_calls = 0.0, 0
    own: dict[str, tuple[float, int]] = {}
    files: Counter[str] = Counter()
    for function, (_, calls, total, _, callers) in stats.items():
        is_ours = function[0].startswith(OURS)
        is_vllms = not is_ours and (VLLM in function[0] or function[2] == INHERITED)
        for caller, (times, _, _, cumulative) in callers.items():
            caller_is_ours = caller[0].startswith(OURS)
            ours += cumulative * (is_ours and not caller_is_ours)
            ours -= cumulative * (is_vllms and caller_is_ours)
            if caller_is_ours and not is_ours and not is_vllms:
                own[f"{_name(caller)} -> {function[2]}"] = (cumulative, times)
                ours_calls += times
                files[_file(caller)] += cumulative
        if is_ours:
            own[_name(function)] = (total, calls)
            ours_calls += calls
            files[_file(function)] += total
    name = "on" if eah else "off"
    said = f"{ours * per_request:.3f} ms and {ours_calls / requests:.1f} calls a request are ours"
    sys.stdout.write(f"\nEAH {name}, under the profiler: {said}\n")
    for name, spent in files.most_common():
        sys.stdout.write(f"  {spent * per_request:8.3f} ms  {name}\n")
    for name, (spent, calls) in sorted(own.items(), key=lambda item: -item[1][0])[:lines]:
        sys.stdout.write(f"  {spent * per_request:8.3f} ms  {calls / requests:8.2f} calls  {name}\n")


def _file(function: Function) -> str:
    return function[0].removeprefix(str(ROOT) + os.sep)


def _name(function: Function) -> str:
    return f"{_file(function)}:{function[1]} {function[2]}"


if __name__ == "__main__":
    main()
