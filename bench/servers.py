"""The servers that are compared, vLLM without any plugin and `eah-vllm serve`: both run, one of them is under load."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tools.serving import Server

# Development mode has the routes that empty the caches.
DEV_MODE = {"VLLM_SERVER_DEV_MODE": "1"}
COUNT_SECONDS = 30


@contextmanager
def both_servers(arguments: Sequence[str]) -> Iterator[dict[str, Server]]:
    """Start both servers and give them by setting; "off", "on" and "half" are one server."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        starting = pool.submit(Server, arguments, env=DEV_MODE | {"VLLM_PLUGINS": ""}, plain=True)
        stack.push(lambda *exc: starting.result().__exit__(*exc))  # it must end also if ours does not start
        ours = Server(arguments, env=DEV_MODE)
        stack.push(ours)
        stock = starting.result()
        if stock.get("/v1/eah")[0] != 404:
            raise RuntimeError("the stock server has the plugin")
        yield {"stock": stock, "off": ours, "on": ours, "half": ours}


def applied(server: Server) -> float:
    """Return how many requests EAH was applied to so far; 0 for vLLM without the plugin."""
    return server.outcomes().get("applied", 0)


def check_applied(server: Server, before: float, expected: int) -> None:
    """Make sure that EAH was applied to exactly `expected` requests since `before`.

    Raises:
        RuntimeError: it was applied to more or to fewer.
    """
    deadline = time.monotonic() + COUNT_SECONDS
    while (seen := applied(server) - before) != expected:
        if time.monotonic() > deadline:
            raise RuntimeError(f"EAH was applied to {seen:.0f} requests, not to {expected}")
        time.sleep(0.1)
