"""`python -m load_tests [SCENARIO ...]`: put a server under load, judge every answer, write JSON and one page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load_tests.plan import CAPTION, QUESTION
from load_tests.pool import Pool, ask_alone
from load_tests.records import write_lines
from load_tests.scenario import Scenario, ScenarioError, Serve, read, shipped
from load_tests.target import Target
from tools import ROOT

BUILTIN = "scenes"
COLUMNS = ("asked", "finished", "refused", "gave_up", "failures", "wrong_answers", "eah_finished", "applied_share")
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print progress, with the seconds since the start."""
    sys.stdout.write(f"[{time.monotonic() - STARTED:6.0f} s] {text}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scenarios that were asked for; return 1 if a threshold was crossed, 2 if a scenario could not be run."""
    arguments = _parser().parse_args(argv)
    known = shipped()
    if arguments.list:
        sys.stdout.writelines(f"{name:12} {'*' if s.small_set else ' '} {s.title}\n" for name, s in known.items())
        return 0
    try:
        chosen = [_chosen(name, known) for name in arguments.scenarios]
        chosen = chosen or [scenario for scenario in known.values() if scenario.small_set]
        summaries = [row for row in _run_all([_bounded(scenario, arguments) for scenario in chosen], arguments)]
    except (ScenarioError, RuntimeError, TimeoutError) as error:  # also when a server or Locust does not start
        sys.stderr.write(f"{error}\n")
        return 2
    _write_page(arguments.out)
    sys.stdout.write("\n" + _table(summaries) + "\n")
    say(f"written to {arguments.out}; open {arguments.out / 'load.html'}")
    return int(not all(row["passed"] for row in summaries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="names (--list), or files of your own; default: the small set")
    parser.add_argument("--list", action="store_true", help="the scenarios; * is the small set")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "load", help="default build/load")
    parser.add_argument("--base-url", help="a server of your own on this machine, for example http://127.0.0.1:8000")
    parser.add_argument("--model", default=BUILTIN, help="its served name (scenes)")
    parser.add_argument("--api-key", default=os.environ.get("OPENAI_API_KEY", "EMPTY"), help="default OPENAI_API_KEY")
    parser.add_argument("--pid", type=int, help="its process, without which its memory is not measured")
    parser.add_argument("--count", type=float, default=1.0, help="times the requests of each scenario")
    parser.add_argument("--seconds", type=float, default=1.0, help="times the seconds of each scenario")
    parser.add_argument("--minutes", type=float, help="how long each scenario sends, however many requests that takes")
    parser.add_argument("--mix-up", action="store_true", help="expect other scenes' answers: every run must fail")
    return parser


def _chosen(name: str, known: dict[str, Scenario]) -> Scenario:
    if name in known:
        return known[name]
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    raise ScenarioError(f"there is no scenario {name!r}; there are {', '.join(known)}")


def _bounded(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    if arguments.minutes is None:
        return scenario.scaled(arguments.count, arguments.seconds)
    return scenario.for_minutes(arguments.minutes)


def _run_all(scenarios: Sequence[Scenario], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run all scenarios of one server, then those of the next; yield a row of the table for each."""
    groups: defaultdict[str, list[Scenario]] = defaultdict(list)
    for scenario in scenarios:
        groups["" if arguments.base_url else scenario.serve.model_dump_json()].append(scenario)
    for group in groups.values():
        with _target(group[0].serve, arguments) as target:
            say(f"asking {target.url} for the right answers, one after another")
            pool = _pool(group, target)
            changed = pool.changed()
            told = "" if changed is None else f"; EAH changes {100 * changed:.0f} % of the captions"
            say(f"{len(pool.scenes)} scenes, {pool.passed_over} passed over{told}")
            for scenario in group:
                yield _run_one(scenario, target, pool.mixed_up() if arguments.mix_up else pool, arguments)


@contextmanager
def _target(serve: Serve, arguments: argparse.Namespace) -> Iterator[Target]:
    if arguments.base_url:
        url = arguments.base_url.rstrip("/").removesuffix("/v1")
        yield Target(url, arguments.model, arguments.api_key, arguments.pid)
        return
    from load_tests.starting import started

    say(f"starting {'vLLM without the plugin' if serve.kind == 'stock' else 'eah-vllm serve'}")
    with started(serve) as target:
        yield target


def _pool(scenarios: Sequence[Scenario], target: Target) -> Pool:
    """Make one pool that all scenarios of a server share."""
    kinds = [CAPTION] + [QUESTION] * any(scenario.traffic.questions for scenario in scenarios)
    settings = [False] + [True] * any(scenario.traffic.mix != "off" for scenario in scenarios)
    verified = any(scenario.traffic.verified for scenario in scenarios)
    return ask_alone(target, max(scenario.traffic.images for scenario in scenarios), kinds, settings, verified=verified)


def _run_one(scenario: Scenario, target: Target, pool: Pool, arguments: argparse.Namespace) -> dict[str, Any]:
    from load_tests.provenance import provenance
    from load_tests.run import run

    say(f"{scenario.name}: {scenario.title}")
    folder = arguments.out / scenario.name
    told = provenance(target) | {"started_here": not arguments.base_url, "mixed_up": arguments.mix_up}
    result = run(scenario, target, pool, folder, builtin=arguments.model == BUILTIN)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result.to_dict() | {"run": told}, indent=1) + "\n")
    write_lines(folder / "answers.jsonl", result.records)
    for threshold in result.thresholds:
        if threshold["holds"] is False:
            say(f"  CROSSED {threshold['figure']}: {_said(threshold['seen'])}, {threshold['bound']} is asked for")
    if result.busy:
        others = result.facts["cores_busy_with_others"]
        say(f"  others kept {others:.1f} processors busy: bounds on times are not judged, and times mean little")
    for line in [*(f"{number} x {kind}" for kind, number in result.verdict.failures.items()), *result.verdict.wrong]:
        say(f"  {line}")
    return {"scenario": scenario.name, "passed": result.passed, **result.figures}


def _write_page(out: Path) -> None:
    from load_tests.page import write_page

    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))]
    write_page(found, out / "load.html")


def _said(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Make the table of counts by scenario, and their sums."""
    lines = [f"{'':14}" + "".join(f"{name.replace('_', ' '):>15}" for name in COLUMNS) + f"{'req/s':>9}  verdict"]
    for row in rows:
        cells = "".join(f"{'' if row.get(name) is None else format(row[name], '.5g'):>15}" for name in COLUMNS)
        verdict = "passed" if row["passed"] else "FAILED"
        lines.append(f"{row['scenario']:14}{cells}{row.get('requests_per_s') or 0.0:9.1f}  {verdict}")
    sums = [f"{sum(row.get(name) or 0 for row in rows):>15.5g}" for name in COLUMNS[:-1]]
    failed = sum(not row["passed"] for row in rows)
    lines.append(f"{'all':14}{''.join(sums)}{'':24}  {len(rows) - failed} passed, {failed} failed")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
