"""Samples several answers to one request, as if it had been sent several times."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from fastapi.responses import Response

from eah_vllm_server.gate import Gate
from eah_vllm_server.verify.places import places_for

RequestT = TypeVar("RequestT", bound=Any)


def copies(request: RequestT, number: int) -> list[RequestT]:
    """Return copies of a request that differ in what must not be equal: their IDs, and the seed, if there is one."""
    return [request, *(_copy(request, idx) for idx in range(1, number))]


def _copy(request: RequestT, idx: int) -> RequestT:
    other: dict[str, Any] = {}
    if isinstance(getattr(request, "request_id", None), str):
        other["request_id"] = f"{request.request_id}-{uuid.uuid4().hex[:8]}"
    if isinstance(seed := getattr(request, "seed", None), int):
        other["seed"] = (seed + idx) % 2**63
    copied: RequestT = request.model_copy(update=other)
    return copied


async def answer_all(
    gate: Gate, serving: Sequence[Callable[[], Awaitable[Response | None]]]
) -> list[Response] | Response | None:
    """Return the replies to all requests, or only the first error, or None where the client left.

    As many run at once as there is place in the queue.

    Args:
        gate: counts the requests under way.
        serving: answers one request each.
    """
    try:
        async with places_for(gate, len(serving)) as places, asyncio.TaskGroup() as group:

            async def one(serve: Callable[[], Awaitable[Response | None]]) -> Response | None:
                async with places:
                    return await serve()

            tasks = [group.create_task(one(serve)) for serve in serving]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None  # vLLM's routes raise what the app turns into an answer
    replies = [task.result() for task in tasks]
    for reply in replies:
        if reply is None or reply.status_code >= 400:
            return reply
    return [reply for reply in replies if reply is not None]
