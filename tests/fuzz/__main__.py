"""`python -m tests.fuzz --count 0 --seed 0`: hostile requests, then schemathesis; exit status 1 on any violation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from tests.fuzz.corpus import choose, corpus
from tests.fuzz.result import render, save
from tests.fuzz.run import run
from tests.fuzz.schema import check_schema
from tests.fuzz.target import Target
from tests.fuzz.watch import Silent, Trap
from tests.soak.server import FEW_KERNELS
from tools.serving import API_KEY, Server

MUTATED = 100


def main() -> int:
    """Run it and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--count", type=int, default=0, help="how many requests; 0: all that are written, and 100 mutated"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--base-url", help="a server of the built-in model that runs already, as http://HOST:PORT")
    parser.add_argument("--api-key", default=API_KEY)
    parser.add_argument("--examples", type=int, default=25, help="of schemathesis, for each operation; 0: none")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz/fuzz.json"))
    arguments = parser.parse_args()
    with Trap() as trap, Silent() as silent, _target(arguments.base_url, arguments.api_key) as target:
        written = [case for case in corpus(trap.port, silent.port) if arguments.only in case.name]
        count = arguments.count or len(written) + (0 if arguments.only else MUTATED)
        cases = choose(written, count, arguments.seed)
        fuzz = run(target, (trap, silent), cases, partial(tqdm, unit="request", mininterval=2))
        found = check_schema(target, arguments.examples, arguments.seed) if arguments.examples else None
        if found is not None:
            fuzz.problems += found.violations
            fuzz.facts |= found.facts
    save(fuzz, arguments.out, seed=arguments.seed, schemathesis=found.summary if found else None)
    sys.stdout.write(render(fuzz))
    return int(bool(fuzz.violations()))


@contextmanager
def _target(base_url: str | None, key: str) -> Iterator[Target]:
    if base_url:
        yield Target.at(base_url, key)
        return
    sys.stderr.write("starting a server of the built-in model\n")
    with Server([], env=FEW_KERNELS) as server:
        yield Target.of(server)


if __name__ == "__main__":
    sys.exit(main())
