"""`python -m bench [PART ...]`: measure, then write `bench/results.json` and the tables of `docs/benchmarks.md`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import engine, op, op_memory, table
from bench.bars import HEADER, verdicts
from bench.children import exit_on_sigterm
from bench.gpu.tables import markdown
from bench.results import Part, say, write
from tools import ROOT

PARTS = ("op", "engine", "serving", "medium", "mixed", "idle", "published", "verify")


def _op(part: Part, runs: int, quick: bool, folder: Path) -> None:
    op_memory.measure(1 if quick else runs, part, naive=not quick)
    op.measure(runs, part, (648,) if quick else op.LENGTHS)


def _engine(part: Part, runs: int, quick: bool, folder: Path) -> None:
    layers, fewer = (2, 1) if quick else (4, 2)
    engine.measure(folder, runs, part, layers=layers, fewer=fewer, quick=quick)


def _serving(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import serving

    serving.measure(serving.scenes(quick), runs, part)
    serving.figures(part, "scenes", "")


def _medium(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import serving

    serving.measure(serving.medium(folder / "medium", quick), runs, part)
    serving.figures(part, "medium", "_medium")


def _mixed(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import mixed

    mixed.measure(folder / "mixed", runs, part, quick=quick)


def _idle(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import idle

    idle.measure(runs, part, quick=quick)


def _published(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import published

    published.measure(runs, part, number=8 if quick else 64)


def _verify(part: Part, runs: int, quick: bool, folder: Path) -> None:
    from bench import verify

    verify.measure(runs, part, quick=quick)


MEASURE: dict[str, Callable[[Part, int, bool, Path], None]] = {
    "op": _op,
    "engine": _engine,
    "serving": _serving,
    "medium": _medium,
    "mixed": _mixed,
    "idle": _idle,
    "published": _published,
    "verify": _verify,
}


def main() -> int:
    """Run the parts that were asked for, and write the results and the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "table", "all"], default="all", help="default all")
    parser.add_argument("--runs", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="tiny counts: shows that everything runs, not how fast")
    parser.add_argument("--out", type=Path, help="default bench/results.json, with --quick build/bench-quick.json")
    arguments = parser.parse_args()
    committed = ROOT / "bench" / "results.json"
    out = arguments.out or (ROOT / "build" / "bench-quick.json" if arguments.quick else committed)
    asked = [arguments.parts] if isinstance(arguments.parts, str) else arguments.parts
    runs = 1 if arguments.quick else arguments.runs
    exit_on_sigterm()
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            if name not in asked and "all" not in asked:
                continue
            part = Part(name)
            MEASURE[name](part, runs, arguments.quick, Path(folder))
            write(out, part, sys.argv[1:], quick=arguments.quick)
            say(f"{name}: written to {out}")
    if out == committed:
        table.write(out)
    figures = json.loads(out.read_text())["figures"]
    print("\n" + markdown(HEADER, verdicts(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
