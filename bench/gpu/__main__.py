"""`python -m bench.gpu [PHASE ...] [--rehearse]`, which `run.sh` calls: the phases, one group after the other.

Each phase is a process with a time limit and a log; none stops the next, but if the imports fail nothing can work.
After each group everything that was found so far lies in OUT: `gpu.json`, and the logs as `logs.tar.gz`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.gpu.plan import AT_ONCE, BUDGET, Phase, chosen, groups
from bench.gpu.summary import combine, lines, read

LEAST = 20
"""Seconds without which no group is begun."""
GRACE = 10
"""Seconds that a phase has to end its engines."""


class Run:
    """The phases that ended, and where their results are."""

    def __init__(self, work: Path, out: Path, started: float, rehearse: bool) -> None:
        self.work, self.out, self.started = work, out, started
        self.stand_in = bool(os.environ.get("FAKE_GPU"))
        self.budget = float("inf") if rehearse else BUDGET
        # A second call adds its phases to those of the first.
        self.ended = work / "phases.json"
        self.phases: dict[str, dict[str, Any]] = json.loads(self.ended.read_text()) if self.ended.exists() else {}
        noted = Path("COMMIT")
        self.facts: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "commit": noted.read_text().strip() if noted.exists() else "unknown",
            "command": " ".join(["bench/gpu/run.sh", *sys.argv[1:]]),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
            "rehearsal": rehearse,
            "stand_in": self.stand_in,
        }
        for folder in (self.results, self.logs, out):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def results(self) -> Path:
        """Where each phase writes."""
        return self.work / "results"

    @property
    def logs(self) -> Path:
        """Where their output goes."""
        return self.work / "logs"

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.budget - (time.time() - self.started)

    def group(self, phases: list[Phase], at_once: int) -> None:
        """Run phases together, and write what is known then."""
        if self.left() < LEAST:
            for phase in phases:
                self.phases[phase.name] = {"outcome": "left out, no time", "seconds": 0.0}
            return
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self._one, phases))
        self.write()

    def _one(self, phase: Phase) -> None:
        begin, limit = time.time(), min(phase.limit, self.left())
        command = [sys.executable, "-m", *phase.arguments]
        with (self.logs / f"{phase.name}.log").open("wb") as log:
            child = subprocess.Popen(
                command, env=os.environ | phase.environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                outcome = f"rc {child.wait(max(limit, 1))}"
            except subprocess.TimeoutExpired:
                outcome = f"stopped after {limit:.0f} s"
                self._stop(child)
        self.phases[phase.name] = {"outcome": outcome, "seconds": round(time.time() - begin, 1)}
        print(f"[{time.time() - self.started:5.0f} s] {phase.name}: {outcome}", flush=True)

    @staticmethod
    def _stop(child: subprocess.Popen[bytes]) -> None:
        """End a phase; first asked, because its engines are in process groups of their own, which it then ends."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)

    def write(self) -> dict[str, Any]:
        """Write everything into OUT, and return it."""
        facts = self.facts | {"seconds": round(time.time() - self.started, 1)}
        self.ended.write_text(json.dumps(self.phases) + "\n")
        combined = combine(facts, self.phases, read(self.results))
        (self.out / "gpu.json").write_text(json.dumps(combined) + "\n")
        with tarfile.open(self.out / "logs.tar.gz", "w:gz") as archive:
            archive.add(self.logs, "logs")
        return combined

    def tail(self, name: str) -> str:
        """Return the end of a phase's log."""
        return (self.logs / f"{name}.log").read_text(errors="replace")[-3000:]


def main() -> int:
    """Run what is wanted, all by default; 1 if a phase failed."""
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help="the beginning of a phase's name")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: tiny sizes, nothing is measured")
    given = parser.parse_args()
    started = float(os.environ.get("STARTED", time.time()))
    run = Run(Path(os.environ["WORK"]), Path(os.environ["OUT"]), started, given.rehearse)
    cpu = given.rehearse and not run.stand_in
    planned = chosen(groups(run.work, cpu=cpu, stand_in=run.stand_in), given.phases)
    for old in (file for group in planned for phase in group for file in run.results.glob(f"{phase.name}.json")):
        old.unlink()
    for group in planned:
        run.group(group, 1 if given.rehearse else AT_ONCE)
        if group[0].name == "facts" and "seconds_to_import" not in read(run.results).get("facts", {}):
            break  # vLLM or the plugin cannot be imported, so nothing else can work
    combined = run.write()
    print(*lines(combined), sep="\n")
    names = [phase.name for group in planned for phase in group if phase.name in run.phases]
    failed = [name for name in names if run.phases[name]["outcome"] != "rc 0"]
    for name in failed:
        if (run.logs / f"{name}.log").exists():
            print(f"=== end of the log of {name}", run.tail(name), sep="\n")
    return int(bool(failed) or any(row["passed"] is False for row in combined["between_engines"]))


if __name__ == "__main__":
    sys.exit(main())
