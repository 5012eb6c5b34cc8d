"""What methods of generated rows cost the others: a server that has enabled them all, and is asked for none of them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from bench.children import wait_until_idle
from bench.load import random_requests, run_load, switched
from bench.results import Part, rotated, say
from bench.servers import DEV_MODE, STOCK, applied, both_servers, check_applied
from bench.serving import WAKE_UP, scenes
from eah_vllm.method.registry import with_field
from tools.serving import Server

SERVER_OF = {"stock": "stock", "again": "again", "off": "off", "idle": "idle", "on": "off", "on_idle": "idle"}
"""The server of each setting: "off" has EAH alone enabled, "idle" every method. With "on" EAH is asked for."""


def measure(rounds: int, part: Part, *, quick: bool) -> None:
    """Measure rounds of every setting, in rotating order, on the built-in model."""
    workload = scenes(quick)
    sizes = {"side": workload.side, "input_len": workload.input_len, "output_len": workload.output_len}
    alone, every = (json.dumps({"eah": {"methods": methods}}) for methods in (["eah"], list(with_field())))
    with ExitStack() as stack:
        servers = dict(stack.enter_context(both_servers((*workload.arguments, "--additional-config", alone), STOCK)))
        servers["idle"] = stack.enter_context(Server((*workload.arguments, "--additional-config", every), env=DEV_MODE))
        pids = {servers[name].pid for name in set(SERVER_OF.values())}
        for concurrency in (1, 8):
            number = workload.requests[concurrency]
            for round_idx in range(-1, rounds):  # the first round warms up and is not kept
                seed = 9000 + 100 * concurrency + 2 * (round_idx + 1)
                requests = random_requests(workload.model, number, seed=seed, **sizes)
                wake_up = random_requests(workload.model, WAKE_UP, seed=seed + 1, **sizes)
                row: dict[str, Any] = {}
                for setting in rotated(tuple(SERVER_OF), round_idx):
                    server, is_on = servers[SERVER_OF[setting]], setting.startswith("on")
                    server.empty_caches()
                    wait_until_idle(*pids)
                    run_load(server, workload.model, workload.name, switched(wake_up, "off"), concurrency)
                    before = applied(server)
                    asked = switched(requests, "on" if is_on else "off")
                    row[setting] = run_load(server, workload.model, workload.name, asked, concurrency)
                    check_applied(server, before, number if is_on else 0)
                times = ", ".join(f"{name} {row[name]['tpot_p50_ms']:.2f}" for name in SERVER_OF)
                say(f"idle c{concurrency} round {round_idx + 1} of {rounds}: TPOT p50 in ms: {times}")
                if round_idx >= 0:
                    part.add_round(f"c{concurrency}", row)
            for setting, base in (("again", "stock"), ("idle", "stock"), ("idle", "off"), ("on_idle", "on")):
                part.figure(
                    f"idle_tpot_{setting}_over_{base}_c{concurrency}",
                    f"c{concurrency}",
                    lambda row, s=setting, b=base: row[s]["tpot_p50_ms"] / row[b]["tpot_p50_ms"],
                )
