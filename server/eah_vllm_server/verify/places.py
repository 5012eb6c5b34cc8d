"""How many calls of a check run at once: as many as have a place in the server's queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eah_vllm_server.gate import Gate


@asynccontextmanager
async def places_for(gate: Gate, calls: int) -> AsyncIterator[asyncio.Semaphore]:
    """Yield what lets the calls of one check through: one in the place of its request, others in free places.

    Places are borrowed for as long as the check runs, so that it counts against the queue limit with all that it has
    in the engine. It never waits for a place, so checks cannot wait for each other.

    Args:
        gate: counts the requests under way.
        calls: calls that could run at once.
    """
    borrowed = gate.borrow(calls - 1)
    try:
        yield asyncio.Semaphore(1 + borrowed)
    finally:
        gate.give_back(borrowed)
