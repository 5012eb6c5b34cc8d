"""After SIGTERM the server answers the requests under way, refuses new ones, and then ends; a second one ends it now.

With `--shutdown-timeout N` vLLM asks its engine to finish, but closes its picture processing first, lets the engine
refuse the RPC by which reports come, and with several API server processes drops their connections to the engine. So
we wait here, before vLLM begins, until the last byte of the last answer has been handed over.
"""

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

from starlette.datastructures import State

from eah_vllm_server.gate import Gate

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

DRAIN_SECONDS = 15
"""Default of `--shutdown-timeout` in `eah-vllm serve`; Kubernetes kills 30 s after SIGTERM."""
ENGINE_SECONDS = 10
"""Time for an engine without work to end; its workers alone may take 5 s before vLLM ends them."""
asked_to_end = threading.Event()
"""Set once a signal has asked the server to end; a server that ends without it has failed."""
logger = logging.getLogger("vllm.eah")


class DrainingClient:
    """vLLM's engine client as the API server sees it, with a `shutdown` that waits for the answers under way."""

    def __init__(self, engine: "AsyncLLM", gate: Gate, state: State) -> None:
        # Some routes of vLLM check for its own class (`/abort_requests`). It is abstract, so ours can be registered.
        type(engine).register(type(self))
        self._engine, self._gate, self._state = engine, gate, state
        self._loop = asyncio.get_running_loop()
        self._at_once = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def shutdown(self, timeout: float | None = None) -> None:
        """Drain the server and end the engine; vLLM calls this at the first signal, from a thread of its own.

        Args:
            timeout: `--shutdown-timeout`, in seconds; 0 ends the engine at once, and with it every request.
        """
        asked_to_end.set()
        asyncio.run_coroutine_threadsafe(self._drain(timeout or 0), self._loop).result()
        patient = timeout and not self._at_once.is_set()
        self._engine.shutdown(timeout=ENGINE_SECONDS if patient else 0)

    async def _drain(self, seconds: float) -> None:
        self._gate.closed = True
        for number in (signal.SIGTERM, signal.SIGINT):  # vLLM's handlers ignore a second signal
            self._loop.add_signal_handler(number, self._end_at_once)
        logger.info("Waiting up to %g s for %d requests; a second signal ends them.", seconds, self._gate.under_way)
        waits = [asyncio.create_task(self._gate.wait_until_empty()), asyncio.create_task(self._at_once.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._gate.under_way:
            logger.warning("%d requests are ended unanswered.", self._gate.under_way)

    def _end_at_once(self) -> None:
        self._at_once.set()
        self._state.server.force_exit = True  # this makes uvicorn wait for no connection
