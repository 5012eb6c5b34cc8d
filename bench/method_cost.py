"""`python -m bench.method_cost`: what each method costs a generated token, and the prompt, in processor time.

One engine in one process, no HTTP, on the built-in model; plain requests and those of a method in turns. Processor time
and not the clock's, so that it can be told on a machine that others use too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from bench.in_process import engine, noise_prompts

FEW, MANY = 2, 34
"""Tokens of a short and of a long answer: what lies between them is generated, and what the short one takes is mostly
the prompt."""


def main() -> None:
    """Time every method against plain requests, and print medians with the smallest and largest value."""
    parser = argparse.ArgumentParser(prog="python -m bench.method_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    from eah_vllm.method.registry import with_field

    llm, names = engine(additional_config={"eah": {"methods": "all"}}), list(with_field())
    for at_once in (1, 16):
        for name in ["", *names]:
            _cost(llm, name, at_once, seed=10**6)
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        seed, before = 0, _cost(llm, "", at_once, seed=0)
        for _ in range(rounds):
            for name in names:
                found, after = (_cost(llm, who, at_once, seed=(seed := seed + 1)) for who in (name, ""))
                token, prompt = ((before[i] + after[i]) / 2 for i in (0, 1))
                seen[name].append((found[0] / token, 1000 * (found[1] - prompt)))
                before = after
        sys.stdout.write(f"{at_once} at a time; plain: {1000 * before[0]:.2f} ms a token\n")
        for name, values in seen.items():
            ratio, more = ([one[i] for one in values] for i in (0, 1))
            sys.stdout.write(
                f"  {name}: a generated token {statistics.median(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f}), "
                f"the prompt {statistics.median(more):+.2f} ms ({min(more):+.2f} to {max(more):+.2f})\n"
            )
        sys.stdout.flush()


def _cost(llm: Any, method: str, at_once: int, *, seed: int) -> tuple[float, float]:
    """Return processor seconds of a generated token, and of a request's prompt and first tokens."""
    number = max(at_once, 4)
    few, many = (_run(llm, method, number, at_once, tokens, seed + tokens * 10**7) for tokens in (FEW, MANY))
    return (many - few) / (number * (MANY - FEW)), few / number


def _run(llm: Any, method: str, number: int, at_once: int, tokens: int, seed: int) -> float:
    from vllm import SamplingParams

    prompts = noise_prompts(number, seed, "Please describe this image in detail.")
    extra = {method: 1} if method else None
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, extra_args=extra, detokenize=False)
    started = time.process_time()
    for first in range(0, number, at_once):
        llm.generate(prompts[first : first + at_once], params, use_tqdm=False)
    return time.process_time() - started


if __name__ == "__main__":
    main()
