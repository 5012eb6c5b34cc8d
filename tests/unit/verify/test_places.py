"""How many calls of a check run at once beside a queue limit."""

from __future__ import annotations

import asyncio

from eah_vllm_server.gate import Gate
from eah_vllm_server.verify.places import places_for


class Room:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.inside = self.most = 0

    async def stay(self, places: asyncio.Semaphore) -> None:
        async with places:
            self.inside += 1
            self.most = max(self.most, self.inside)
            for _ in range(3):
                await asyncio.sleep(0)
            self.inside -= 1


async def check(gate: Gate, room: Room, calls: int) -> None:
    """Check for a request that has entered."""
    async with places_for(gate, calls) as places, asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(room.stay(places))
    gate.leave()


def test_without_a_limit_all_run_at_once() -> None:
    async def one() -> int:
        gate, room = Gate(), Room()
        gate.enter()
        await check(gate, room, 20)
        return room.most

    assert asyncio.run(one()) == 20


def test_a_full_queue_leaves_one_place_for_each() -> None:
    """Ten checks under way fill the queue; each has its own place, so all end, and none takes more."""

    async def many() -> tuple[int, int]:
        gate, room = Gate(), Room()
        gate.limit = 10
        for _ in range(10):
            gate.enter()
        await asyncio.gather(*(check(gate, room, 7) for _ in range(10)))
        return room.most, gate.under_way

    most, left = asyncio.run(asyncio.wait_for(many(), 60))
    assert (most, left) == (10, 0)


def test_a_check_borrows_what_is_free() -> None:
    async def one() -> tuple[int, int, int]:
        gate, room = Gate(), Room()
        gate.limit = 6
        gate.enter()
        gate.enter()
        async with places_for(gate, 3):
            during = gate.under_way
        await check(gate, room, 9)
        return during, room.most, gate.under_way

    assert asyncio.run(one()) == (4, 5, 1)


def test_without_hardening_the_engines_own_limit_holds() -> None:
    async def one() -> int:
        gate, room = Gate(), Room()
        gate.engine_limit = 4
        gate.enter()
        await check(gate, room, 9)
        return room.most

    assert asyncio.run(one()) == 4


def test_places_come_back_after_a_failure() -> None:
    async def one() -> int:
        gate = Gate()
        gate.limit = 6
        gate.enter()
        try:
            async with places_for(gate, 3):
                raise ValueError("a question failed")
        except ValueError:
            return gate.under_way

    assert asyncio.run(one()) == 1
