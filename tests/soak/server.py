"""The servers of the soak test: ours, with a look inside, and stock vLLM."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools import ROOT
from tools.processes import family, memory
from tools.serving import SMALL, Server

NAME = "tiny"
# Room for about 750 tokens and six requests: at concurrency 8 some wait, and some are preempted.
KV_CACHE_BYTES, MAX_RUNNING = 3_000_000, 6
SERVER_DEFAULTS = {"eah": {"layer": 2, "relative_threshold": 1.5}}
SECONDS_TO_ZERO = 60
FEW_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16"}
"""On a CPU torch keeps 1,024 compiled kernels, one for each new number of rows: 250 MiB that hide any other growth."""


def arguments(checkpoint: Path) -> list[str]:
    """Of both servers: they must batch alike."""
    return [
        str(checkpoint),
        *SMALL,
        "--served-model-name", NAME,
        "--kv-cache-memory-bytes", str(KV_CACHE_BYTES),
        "--max-num-seqs", str(MAX_RUNNING),
        "--limit-mm-per-prompt", '{"image": 4}',
    ]  # fmt: skip


class StockServer(Server):
    """vLLM's own serve command without any plugin."""

    def __init__(self, checkpoint: Path) -> None:
        whole_prompts = ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "1024"]
        super().__init__([*arguments(checkpoint), *whole_prompts], env={"VLLM_PLUGINS": ""}, plain=True)


class InspectedServer(Server):
    """`eah-vllm serve`, and what it holds: worker state, KV blocks, memory."""

    def __init__(self, checkpoint: Path) -> None:
        inspector = ["--worker-extension-cls", "tests.soak.inspector.Inspector"]
        super().__init__(
            [*arguments(checkpoint), "--additional-config", json.dumps(SERVER_DEFAULTS), *inspector],
            env={"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'server'}"} | FEW_KERNELS,
        )

    def held(self) -> dict[str, float]:
        """What is not 0 although nothing is under way: worker state, running and waiting requests, KV blocks."""
        status, body = self.post("/collective_rpc", {"method": "held_state"})
        assert status == 200, body
        held: dict[str, float] = dict(json.loads(body)["results"][0])
        metrics = self.metrics()
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
            held[name] = metrics[name]
        # vLLM drops its prefix cache only if no block is in use.
        status, body = self.post("/reset_prefix_cache", {})
        held["blocks in use"] = 0 if json.loads(body)["success"] else 1
        return {name: number for name, number in held.items() if number}

    def wait_until_empty(self) -> dict[str, float]:
        """What is still held when the last request's end has reached every part of the server, or never does."""
        deadline = time.monotonic() + SECONDS_TO_ZERO
        while (held := self.held()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return held

    def memory(self) -> float:
        """MiB of the server's processes, without pages of files: other programs share those, or cease to."""
        return memory(family(self.pid))["own"]


@contextmanager
def both_servers(checkpoint: Path) -> Iterator[tuple[InspectedServer, StockServer]]:
    """Started at once: each start is mostly waiting."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        starting = pool.submit(StockServer, checkpoint)
        stack.push(lambda *exc: starting.result().__exit__(*exc))  # also if ours does not start
        server = InspectedServer(checkpoint)
        stack.push(server)
        yield server, starting.result()
