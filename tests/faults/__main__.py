"""`python -m tests.faults`: break a real server in every way of docs/operations.md; status 1 for a broken promise."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.faults.run import run, say


def main() -> int:
    """Run the faults, print and write what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("only", nargs="*", help="only faults whose name has one of these words")
    parser.add_argument("--out", type=Path, default=Path("build/faults.json"))
    parser.add_argument("--plain", action="store_true", help="against vLLM's own `serve`, without this plugin")
    arguments = parser.parse_args()
    outcomes = run(arguments.only, plain=arguments.plain)
    counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    faults = [{**asdict(outcome), "counts": outcome.counts} for outcome in outcomes]
    report = {"faults": faults, "counts": counts, "problems": problems}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    say(f"{len(outcomes)} faults, {', '.join(f'{number} {what}' for what, number in counts.items())}")
    say(f"{len(problems)} broken promises")
    return int(bool(problems) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())
