"""`make replicas`: two servers behind nginx, an image stays with its replica, one is killed under load.

Needs nginx (`apt-get install nginx-light`). Prints its counts; ends with 1 if a promise of docs/clusters.md is broken.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.replicas.balancer import Balancer
from tests.replicas.load import TIMEOUT, Ask, Load, Outcome, asks, wrong
from tests.soak.client import Answer
from tools.serving import Server

IMAGES = 8
SERVER = ["--max-logprobs", "-1"]


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.replicas", description=__doc__)
    parser.add_argument("--requests", type=int, default=192, help="in each phase")
    parser.add_argument("--concurrency", type=int, default=8)
    arguments = parser.parse_args()
    with two_servers() as servers, Balancer([f"127.0.0.1:{server.port}" for server in servers]) as balancer:
        problems = Run(balancer, servers, arguments.requests, arguments.concurrency).problems()
    for problem in problems[:20]:
        sys.stdout.write(f"WRONG {problem}\n")
    sys.stdout.write(f"{len(problems)} problems\n")
    return 1 if problems else 0


@contextmanager
def two_servers() -> Iterator[list[Server]]:
    """Started at the same time."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        starting = [pool.submit(Server, SERVER) for _ in range(2)]
        for future in starting:
            stack.callback(stop, future)
        yield [future.result() for future in starting]


def stop(starting: Future[Server]) -> None:
    """Stop a server, once it has started, if it has."""
    if starting.exception() is None:
        starting.result().__exit__()


class Run:
    """One run over two started servers."""

    def __init__(self, balancer: Balancer, servers: Sequence[Server], requests: int, concurrency: int) -> None:
        self._balancer, self._servers = balancer, servers
        self._requests, self._concurrency = requests, concurrency
        self._load = Load(balancer.url, IMAGES)
        self._logged = 0

    def problems(self) -> list[str]:
        """What was not as promised, one line each."""
        plan = asks(self._requests, IMAGES)
        alone = [Load(server.url, IMAGES).run(asks(4 * IMAGES, IMAGES), 1) for server in self._servers]
        kinds = [(ask.image, str(ask.eah)) for ask in asks(4 * IMAGES, IMAGES)]
        expected = {kind: outcome.answer for kind, outcome in zip(kinds, alone[0], strict=True)}
        found = wrong(asks(4 * IMAGES, IMAGES), alone[1], expected)
        found += [outcome.error for outcomes in alone for outcome in outcomes if outcome.error]
        found += no_effect(expected)

        found += self._phase("both replicas, images named", plan, expected, errors=0)
        found += self._one_replica_each()
        found += self._phase("both replicas, no image named", asks(self._requests, IMAGES, sticky=False), expected, 0)
        found += self._both_used()
        found += self._phase("one killed on the way", plan, expected, errors=self._concurrency, kill=True)
        found += self._phase("after that", plan, expected, errors=0)
        found += self._phase("after that, no image named", asks(self._requests, IMAGES, sticky=False), expected, 0)
        return found

    def _phase(
        self, name: str, plan: Sequence[Ask], expected: dict[tuple[int, str], Answer], errors: int, kill: bool = False
    ) -> list[str]:
        outcomes = self._load.run(plan, self._concurrency, len(plan) // 3, self._kill if kill else None)
        routes = self._balancer.wait_for_route(self._logged + len(plan))
        self._routes, self._logged = routes[self._logged :], len(routes)
        failed = [outcome.error for outcome in outcomes if outcome.error]
        found = [f"{name}: {problem}" for problem in wrong(plan, outcomes, expected)]
        if len(failed) > errors:
            found.append(f"{name}: {len(failed)} errors, more than {errors}: {failed[:3]}")
        slowest = max(outcome.seconds for outcome in outcomes)
        if slowest > TIMEOUT:
            found.append(f"{name}: a request took {slowest:.0f} s")
        if kill and not failed:
            found.append(f"{name}: no request was on the replica that was killed; the test shows nothing")
        sys.stdout.write(self._line(name, outcomes, len(found), slowest))
        return found

    def _line(self, name: str, outcomes: Sequence[Outcome], problems: int, slowest: float) -> str:
        errors = Counter(outcome.error.split("{")[0].strip()[:60] for outcome in outcomes if outcome.error)
        used = Counter(route["replica"].replace("127.0.0.1", "") for route in self._routes)
        exact = sum(not outcome.error for outcome in outcomes) - problems
        counts = f"{exact} exact, {problems} wrong, errors {dict(errors)}"
        return f"{name}: {counts}, slowest {slowest:.1f} s, {dict(used)}\n"

    def _kill(self) -> None:
        # As when a machine is gone: nothing is finished, nothing is closed in order.
        os.killpg(self._servers[1].pid, signal.SIGKILL)

    def _one_replica_each(self) -> list[str]:
        by_image = defaultdict(set)
        for route in self._routes:
            by_image[route["image"]].add(route["replica"])
        moved = [image for image, replicas in by_image.items() if len(replicas) > 1]
        used = {replica for replicas in by_image.values() for replica in replicas}
        found = [f"images {moved} were seen by several replicas"] if moved else []
        return found + ([] if len(used) == 2 else [f"all images went to {used}"])

    def _both_used(self) -> list[str]:
        used = {route["replica"] for route in self._routes}
        return [] if len(used) == 2 else [f"without a named image, only {used} was used"]


def no_effect(expected: dict[tuple[int, str], Answer]) -> list[str]:
    """EAH must have changed some caption, or exactness would show nothing about it."""
    off = {image: answer.choices[0].tokens for (image, eah), answer in expected.items() if eah == "False"}
    changed = sum(answer.choices[0].tokens != off[image] for (image, eah), answer in expected.items() if eah != "False")
    sys.stdout.write(f"EAH changed {changed} of {len(expected) - len(off)} captions\n")
    return [] if changed else ["EAH changed no caption"]


if __name__ == "__main__":
    sys.exit(main())
