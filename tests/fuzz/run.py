"""Hostile requests one at a time; after each: the answer, the time, the log, the memory, the next good request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.fuzz.case import FINE, Case, as_json, show
from tests.fuzz.fresh import with_fresh_picture
from tests.fuzz.good import KINDS, Reference, ask, reference
from tests.fuzz.pictures import OTHER, encode, scene, url
from tests.fuzz.target import Target
from tests.fuzz.verdict import limit, problems, text_of
from tests.fuzz.watch import TRACE, Memory, Trap, log_violations
from tests.fuzz.wire import Reply

# What large pictures leave with the allocator of the API process, once: a second round of all pictures adds a few MiB.
MAX_PEAK, MAX_GROWTH = 1500.0, 1000.0
"""MiB above what the server held before: for a moment during one request, and at the end of all."""
WARM_UP = 3


@dataclass(slots=True)
class Outcome:
    """What came of one case."""

    case: Case
    status: int | None
    seconds: float
    message: str
    peak: float = 0.0
    """MiB above the memory at the start, at the fullest moment of this request."""
    traces: int = 0
    log_bytes: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Fuzz:
    """A run."""

    outcomes: list[Outcome] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What is wrong beyond single cases."""

    def violations(self) -> list[str]:
        """A line for everything that is wrong."""
        lines = [f"{one.case.name}: {line}" for one in self.outcomes for line in one.violations]
        return lines + self.problems


def prepare(target: Target) -> tuple[Reference, str]:
    """The answers of the good requests, and what is said about the good picture.

    Raises:
        RuntimeError: the server has no steady answers, or does not see the picture: nothing could be found out with it.
    """
    replies = {kind: [target.ask(ask(kind)) for _ in range(WARM_UP)] for kind in KINDS}
    # The second round has the caches as the run will have them.
    replies = {kind: [target.ask(ask(kind)) for _ in range(WARM_UP)] for kind in replies}
    plain = Case("the picture", "good", as_json(show(url(encode(scene(), "png")))), FINE)
    other = Case("another", "good", as_json(show(url(encode(scene(OTHER), "png")))), FINE)
    text, other_text = text_of(target.ask(plain)), text_of(target.ask(other))
    if not text or text == other_text:
        raise RuntimeError(f"the server sees no picture: {text!r}, {other_text!r}")
    return reference(replies), text


def run(
    target: Target,
    traps: Sequence[Trap],
    cases: Sequence[Case],
    progress: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> Fuzz:
    """Send all of them, one at a time; nobody may visit the traps."""
    fuzz, (good, text) = Fuzz(), prepare(target)
    memory = target.memory()
    at_start = memory.resident() if memory else 0.0
    target.new_log()
    for idx, case in enumerate(progress(cases)):
        outcome = one(target, case, good, text, ("off", "on")[idx % 2], memory, at_start)
        fuzz.outcomes.append(outcome)
        if memory and memory.lost():
            fuzz.problems.append(f"after {case.name!r} processes are gone: {sorted(memory.lost())}")
            break
    good.check("on", target.ask(ask("on")))
    _add_facts(fuzz, good, memory, at_start)
    if visits := sum(trap.visits for trap in traps):
        fuzz.problems.append(f"the server followed an address to this machine {visits} times")
    return fuzz


def one(
    target: Target, case: Case, good: Reference, text: str, kind: str, memory: Memory | None, at_start: float
) -> Outcome:
    """One case and the good request behind it."""
    if memory:
        memory.forget_peak()
    case, same_picture = with_fresh_picture(case)
    reply = target.ask(case)
    outcome = Outcome(case, reply.status, reply.seconds, reply.message())
    outcome.peak = memory.peak() - at_start if memory else 0.0
    outcome.violations += problems(case, reply, text)
    outcome.violations += _too_slow(target, case, reply, good)
    if same_picture is not None and (again := target.ask(same_picture)).status != 200:
        outcome.violations.append(f"the next request with its picture got {again.status} {again.message()!r}")
    outcome.violations += good.check(kind, target.ask(ask(kind)))
    log = target.new_log()
    outcome.traces, outcome.log_bytes = log.count(TRACE), len(log)
    outcome.violations += log_violations(log)
    if outcome.peak > MAX_PEAK:
        outcome.violations.append(f"the server took {outcome.peak:.0f} MiB more, over {MAX_PEAK:.0f}")
    return outcome


def _too_slow(target: Target, case: Case, reply: Reply, good: Reference) -> list[str]:
    """Asked once more before it is called slow: another program of this machine may have been in the way."""
    allowed = limit(good.median())
    if reply.status == 200 or case.half or reply.seconds <= allowed:
        return []
    again = target.ask(case)
    if again.seconds <= allowed:
        return []
    return [f"{reply.seconds:.2f} s, and {again.seconds:.2f} s when asked again; {allowed:.2f} s are allowed"]


def _add_facts(fuzz: Fuzz, good: Reference, memory: Memory | None, at_start: float) -> None:
    refused = sorted(one.seconds for one in fuzz.outcomes if one.status != 200 and not one.case.half)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        fuzz.facts[f"refusals, {name} seconds"] = refused[min(len(refused) - 1, int(share * len(refused)))]
    fuzz.facts["good requests, median seconds"] = good.median()
    fuzz.facts["good requests asked"] = len(good.seconds)
    fuzz.facts["good requests, furthest first-token logprob"] = good.furthest
    fuzz.facts["tracebacks that vLLM logged"] = sum(one.traces for one in fuzz.outcomes)
    fuzz.facts["log, MiB"] = sum(one.log_bytes for one in fuzz.outcomes) / 2**20
    if memory:
        growth = memory.resident() - at_start if not memory.lost() else 0.0
        fuzz.facts |= {"RSS at the start, MiB": at_start, "RSS grown at the end, MiB": growth}
        fuzz.facts["largest peak of one request, MiB"] = max(one.peak for one in fuzz.outcomes)
        if growth > MAX_GROWTH:
            fuzz.problems.append(f"memory grew by {growth:.0f} MiB, more than {MAX_GROWTH:.0f}")
