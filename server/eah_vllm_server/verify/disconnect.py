"""Ends work for a client that leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from vllm.entrypoints.serve.utils.api_utils import listen_for_disconnect

T = TypeVar("T")


async def while_connected(raw_request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what the work returns, or None where the client left before; the work is then cancelled, and ends first.

    vLLM's own `with_cancellation` does not wait for what it cancels, and does not cancel it when it is cancelled.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(listen_for_disconnect(raw_request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait({working})
