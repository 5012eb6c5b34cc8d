"""One vLLM engine, timed inside its own process, without HTTP and without other requests."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from PIL import Image

from bench.children import answer

PROMPT_TOKENS = 648
"""LLaVA-1.5: 35 tokens before the image, 576 of the image, 37 after it."""
BEFORE, AFTER = 35, 37
IMAGE_ID = 3


def picture_prompt(seed: int, side: int) -> dict[str, Any]:
    """Make a prompt of `PROMPT_TOKENS` with a picture of `side` x `side` pixels that no other seed has."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    words = rng.integers(5, 500, BEFORE + AFTER - 1).tolist()
    tokens = [1, *words[: BEFORE - 1], IMAGE_ID, *words[BEFORE - 1 :]]
    return {"prompt_token_ids": tokens, "multi_modal_data": {"image": image}}


class TimedEngine:
    """A `vllm.LLM` that is asked one request at a time."""

    def start(self, model: str, options: dict[str, Any]) -> None:
        """Start the engine."""
        from vllm import LLM

        self.llm = LLM(model, **options)
        self.number = itertools.count()

    def request(self, seed: int, side: int, tokens: int, eah: bool) -> dict[str, float]:
        """Send one request with a picture that no other seed has; return seconds to the first and per further token."""
        from vllm import SamplingParams

        prompt: Any = picture_prompt(seed, side)
        params = SamplingParams(
            temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False, extra_args={"eah": 1} if eah else None
        )
        engine = self.llm.llm_engine
        started, first = time.perf_counter(), 0.0
        engine.add_request(str(next(self.number)), prompt, params)
        while engine.has_unfinished_requests():
            for output in engine.step():
                assert len(output.prompt_token_ids or ()) == PROMPT_TOKENS
                first = first or time.perf_counter()
        return {"ttft": first - started, "tpot": (time.perf_counter() - first) / max(tokens - 1, 1)}

    def applied(self) -> int:
        """Return how many requests EAH was applied to since the last call."""
        (counts,) = self.llm.collective_rpc("eah_collect", args=([],))
        return int(counts["outcomes"].get("eah", {}).get("applied", 0))


def serve(connection: Any) -> None:
    """Run the child process: one engine that answers calls over the connection."""
    engine = TimedEngine()
    answer(connection, {"start": engine.start, "request": engine.request, "applied": engine.applied})
