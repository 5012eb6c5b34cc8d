"""Which server gets which faults, and the run of them all."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import crowds, ends, environment, slow_clients
from tests.faults.asks import Answer, make_asks, references
from tests.faults.outcome import Fault, Outcome, Subject
from tests.faults.server import FaultServer

SHORT, LONG = 12, 10
"""Requests at once while something breaks: short ones, and long ones that are broken in the middle."""


@dataclass(frozen=True)
class Setting:
    """One server, and its faults in order; the last one may end it."""

    name: str
    faults: Mapping[str, Fault]
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    long: bool = False


def http_limits(**limits: float) -> list[str]:
    """Arguments of a server."""
    return ["--additional-config", json.dumps({"eah_http": limits}), "--max-logprobs", str(slow_clients.EVERY_TOKEN)]


def settings(folder: Path) -> Iterator[Callable[[], Setting]]:
    """Made one after the other: some need files."""
    patience = http_limits(client_timeout=slow_clients.CLIENT_SECONDS)

    def clients() -> Setting:
        clock = environment.Clock(folder)
        faults: dict[str, Fault] = {
            "trace on a full disk": environment.full_trace,
            "slow body": slow_clients.slow_body,
            "slow reader": slow_clients.slow_reader,
            "1,000 idle connections": crowds.idle_connections,
            "1,000 requests": crowds.thousand_requests,
            "disconnect storm": crowds.disconnect_storm,
            "clock jumps": environment.clock_jumps(clock),
            "full disk": environment.full_disk,
        }
        return Setting("clients and surroundings", faults, patience, clock.env | {"EAH_TRACE": "/dev/full"})

    yield clients
    few = ["--max-num-queued-reqs", str(LONG // 2)]
    yield lambda: Setting("full queue", {"full queue": crowds.full_queue}, few, long=True)
    patient = ["--shutdown-timeout", "200"]  # the machine may be busy, and the answers long
    yield lambda: Setting("drain", {"SIGTERM under load": ends.drain}, patient, long=True)
    yield lambda: Setting(
        "drain of two API processes",
        {"SIGTERM, two API processes": ends.drain},
        ["--api-server-count", "2", *patient],
        long=True,
    )
    yield lambda: Setting("second signal", {"second signal": ends.second_signal}, patient, long=True)
    yield lambda: Setting(
        "bounded drain", {"SIGTERM with a stalled client": ends.bounded_drain}, ["--shutdown-timeout", "3"]
    )
    yield lambda: Setting("engine killed", {"engine killed": ends.engine_killed}, long=True)
    yield lambda: Setting(
        "engine killed, reports", {"engine killed as reports are fetched": ends.killed_as_reports_are_fetched}
    )
    two = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    yield lambda: Setting(
        "worker killed", {"worker killed": ends.worker_killed}, ["--tensor-parallel-size", "2"], two, long=True
    )


def run(only: Sequence[str] = (), *, plain: bool = False) -> list[Outcome]:
    """Every fault, or those whose name has one of these words.

    Args:
        only: words; a server without any such fault is not started.
        plain: against vLLM's own `serve` without this plugin, to see which promises are ours.
    """
    outcomes: list[Outcome] = []
    known: dict[bool, list[Answer]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for make in settings(Path(folder)):
            setting = make()
            faults = {name: f for name, f in setting.faults.items() if not only or any(w in name for w in only)}
            if faults:
                outcomes += _run_setting(setting, faults, plain, known)
    return outcomes


def _run_setting(
    setting: Setting, faults: Mapping[str, Fault], plain: bool, known: dict[bool, list[Answer]]
) -> list[Outcome]:
    say(f"server: {setting.name} {' '.join(setting.arguments)}")
    with FaultServer(setting.arguments, setting.env, plain=plain) as server:
        asks = make_asks(LONG if setting.long else SHORT, long=setting.long, eah=not plain)
        if setting.long not in known:  # all servers have the same model, and it takes a while
            known[setting.long] = asyncio.run(references(server.port, asks))
        return asyncio.run(_run_faults(Subject(server, asks, known[setting.long]), faults))


async def _run_faults(subject: Subject, faults: Mapping[str, Fault]) -> list[Outcome]:
    outcomes = []
    for name, fault in faults.items():
        outcome, started = Outcome(name), time.monotonic()
        say(f"  {name} ...")
        try:
            await fault(subject, outcome)
        except (AssertionError, OSError, TimeoutError, RuntimeError) as error:  # the others shall be seen too
            outcome.problems.append(f"{name}: {type(error).__name__}: {error}")
        outcome.facts["seconds in all"] = time.monotonic() - started
        counts = ", ".join(f"{number} {what}" for what, number in outcome.counts.items())
        facts = ", ".join(f"{what} {number:.3g}" for what, number in outcome.facts.items())
        say(f"  {name}: {'BROKEN' if outcome.problems else 'kept'}; {counts}; {facts}")
        for problem in outcome.problems:
            say(f"    {problem[:600]}")
        outcomes.append(outcome)
    return outcomes


def say(line: str) -> None:
    """Progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
