"""The soak: expected answers one at a time, a warm-up round, then everything at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from tests.soak.asks import Ask, alone, make_asks, make_plan
from tests.soak.client import Answer, send_all
from tests.soak.counts import left_over, miscounts
from tests.soak.result import Soak, add_distances, check_alone
from tests.soak.server import InspectedServer
from tools.serving import Server

MAX_GROWTH = 50.0
"""MiB, after the warm-up."""
REQUESTS_FOR_EACH_ASK_OF_A_KIND = 75
VLLM_COUNTERS = ("num_preemptions", "prefix_cache_hits", "prompt_tokens", "generation_tokens")


def soak(server: InspectedServer, stock_server: Server, requests: int, concurrency: int, seed: int) -> Soak:
    """Run it all; nothing is raised for a wrong answer."""
    rng = random.Random(seed)
    asks = make_asks(max(1, requests // REQUESTS_FOR_EACH_ASK_OF_A_KIND), rng)
    ours, stock = one_by_one(server, asks), one_by_one(stock_server, asks, eah=False)
    expected = [own if ask.eah is not None else other for ask, own, other in zip(asks, ours, stock, strict=True)]
    soaked = Soak(asks, expected, stock)
    check_alone(soaked)

    asyncio.run(send_all(server, asks, make_plan(asks, len(asks), rng), concurrency))  # warm-up
    soaked.problems += left_over(server)
    before, outcomes, memory = server.metrics(), server.outcomes(), server.memory()

    soaked.plan, started = make_plan(asks, requests, rng), time.monotonic()
    soaked.answers = asyncio.run(send_all(server, asks, soaked.plan, concurrency))
    soaked.facts["seconds"] = time.monotonic() - started
    soaked.problems += left_over(server)
    wrong, counted = miscounts(server, outcomes, asks, soaked.plan, soaked.answers, expected)
    soaked.problems += wrong
    soaked.facts |= {f"eah_requests_total {outcome}": number for outcome, number in counted.items()}
    after, growth = server.metrics(), server.memory() - memory
    for name in VLLM_COUNTERS:
        soaked.facts[name] = after[f"vllm:{name}_total"] - before[f"vllm:{name}_total"]
    soaked.facts |= {"MiB before": memory, "MiB grown": growth}
    if growth > MAX_GROWTH:
        soaked.problems.append(f"memory grew by {growth:.0f} MiB, more than {MAX_GROWTH:.0f}")
    add_distances(soaked)
    return soaked


def one_by_one(server: Server, asks: Sequence[Ask], *, eah: bool = True) -> list[Answer | None]:
    """Each good ask's answer, alone in the engine; `eah=False` leaves out whatever asks for EAH."""
    plan = list(alone(asks))
    answers = asyncio.run(send_all(server, asks, plan, 1, eah=eah))
    by_ask = {sending.ask: answer for sending, answer in zip(plan, answers, strict=True)}
    return [by_ask.get(idx) for idx in range(len(asks))]
