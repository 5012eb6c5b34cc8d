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
STOCK = ("stock", "again")
"""Two equal servers without the plugin: how far "again" is from "stock" is the noise of this benchmark."""


@contextmanager
def both_servers(arguments: Sequence[str], stock: Sequence[str] = ("stock",)) -> Iterator[dict[str, Server]]:
    """Start a server of vLLM's for each name in `stock`, and ours; give them by setting.

    "off", "on" and "half" are one server. Where `stock` has two names, the ratio of these two equal servers is what
    the machine and the benchmark do by themselves: a difference that is no larger says nothing.
    """
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        starting = {
            name: pool.submit(Server, arguments, env=DEV_MODE | {"VLLM_PLUGINS": ""}, plain=True) for name in stock
        }
        for started in starting.values():  # they must end also if ours does not start
            stack.callback(lambda server=started: server.result().__exit__())
        ours = stack.enter_context(Server(arguments, env=DEV_MODE))
        plain = {name: started.result() for name, started in starting.items()}
        if any(server.get("/v1/eah")[0] != 404 for server in plain.values()):
            raise RuntimeError("a stock server has the plugin")
        yield plain | {"off": ours, "on": ours, "half": ours}


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
