"""`python -m tests.soak --requests 300 --concurrency 8 --seed 0`: exit status 1 if anything differs or is left over."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.checkpoints import UNUSUAL, make_llava
from tests.soak.result import count, mixed_up, render
from tests.soak.run import soak
from tests.soak.server import both_servers


def main() -> int:
    """Run one soak and print its counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mix-up", action="store_true", help="expect the answers of other asks: all must be found wrong"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_llava(Path(folder, "model"), UNUSUAL)
        with both_servers(checkpoint) as (server, stock_server):
            soaked = soak(server, stock_server, arguments.requests, arguments.concurrency, arguments.seed)
    rows, wrong = count(soaked, mixed_up(soaked.expected) if arguments.mix_up else soaked.expected)
    sys.stdout.write(render(soaked, rows, wrong))
    return int(bool(soaked.problems or wrong))


if __name__ == "__main__":
    sys.exit(main())
