"""One engine of phase c, in a process of its own: many requests at once, long prompts beside them, peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.children import answer
from bench.engine_child import TimedEngine, picture_prompt

SIDE = 336


class Engine7B(TimedEngine):
    """Answers what the parent asks: batches, and batches with long prompts of text."""

    def batch(self, seed: int, requests: int, tokens: int, how: str) -> dict[str, float]:
        """Send requests with a picture all at once; with "half" every second one asks for EAH, with "on" each.

        Returns:
            Seconds of all, tokens a second, and medians of the seconds to the first and per further token.
        """
        prompts = [picture_prompt(seed * 1000 + idx, SIDE) for idx in range(requests)]
        asks = [how == "on" or (how == "half" and idx % 2 == 1) for idx in range(requests)]
        seconds, firsts, lasts = self._run(prompts, asks, tokens)
        further = [(last - first) / (tokens - 1) for first, last in zip(firsts, lasts, strict=True)]
        return {
            "seconds": seconds,
            "tokens_per_second": requests * tokens / seconds,
            "ttft": statistics.median(firsts),
            "tpot": statistics.median(further),
        }

    def beside_long(self, seed: int, long: int, length: int, requests: int, tokens: int, how: str) -> dict[str, float]:
        """Send long prompts of text, which vLLM splits over steps, and requests with a picture, in turns.

        Returns:
            Seconds of all, and medians of the seconds to the first token of the long prompts and of the others.
        """
        rng = np.random.default_rng(seed)
        prompts: list[Any] = [picture_prompt(seed * 1000 + idx, SIDE) for idx in range(requests)]
        asks = [how == "on"] * requests
        is_long = [False] * requests
        for idx in range(long):
            place = idx * (requests // long + 1)
            prompts.insert(place, {"prompt_token_ids": [1, *rng.integers(5, 500, length - 1).tolist()]})
            asks.insert(place, False)
            is_long.insert(place, True)
        seconds, firsts, _ = self._run(prompts, asks, tokens)
        return {
            "seconds": seconds,
            "ttft_long": statistics.median(one for one, big in zip(firsts, is_long, strict=True) if big),
            "ttft_pictures": statistics.median(one for one, big in zip(firsts, is_long, strict=True) if not big),
        }

    def _run(self, prompts: Sequence[Any], asks: Sequence[bool], tokens: int) -> tuple[float, list[float], list[float]]:
        """Return seconds of all, and seconds to the first and to the last token of each."""
        from vllm import SamplingParams

        engine = self.llm.llm_engine
        started = time.perf_counter()
        places: dict[str, int] = {}
        for idx, (prompt, eah) in enumerate(zip(prompts, asks, strict=True)):
            name = str(next(self.number))
            places[name] = idx
            extra = {"eah": 1} if eah else None
            params = SamplingParams(
                temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False, extra_args=extra
            )
            engine.add_request(name, prompt, params)
        firsts, lasts = [0.0] * len(prompts), [0.0] * len(prompts)
        while engine.has_unfinished_requests():
            for output in engine.step():
                place, now = places[output.request_id], time.perf_counter() - started
                firsts[place] = firsts[place] or now
                lasts[place] = now
        return time.perf_counter() - started, firsts, lasts

    def memory(self, *, reset: bool) -> dict[str, float] | None:
        """Return the worker's device memory in MiB: in use now, and at its peak since the last reset; None on a CPU."""
        (seen,) = self.llm.collective_rpc(_memory, args=(reset,))
        return seen  # type: ignore[no-any-return]


def _memory(worker: Any, reset: bool) -> dict[str, float] | None:
    if not torch.cuda.is_available():
        return None
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return {"now": torch.cuda.memory_allocated() / 2**20, "peak": torch.cuda.max_memory_allocated() / 2**20}


def serve(connection: Any) -> None:
    """Run the child process: one engine that answers calls over the connection."""
    engine = Engine7B()
    functions = {
        "start": engine.start,
        "batch": engine.batch,
        "beside_long": engine.beside_long,
        "applied": engine.applied,
        "memory": lambda reset: engine.memory(reset=reset),
    }
    answer(connection, functions)
