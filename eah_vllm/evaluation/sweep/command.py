"""`eah-vllm sweep TASK --layers 0-4 --relative-thresholds 1,1.5,2 --base-url ... --out DIR` finds the best setting.

`--setting NAME --try OPTION=VALUE,VALUE` does so for another method.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from eah_vllm.evaluation.ask.answers import AnswerFile, RunError
from eah_vllm.evaluation.ask.asking import AskError, Server, ask_all
from eah_vllm.evaluation.ask.controls import ask_fixed_heads, ask_twins, controls
from eah_vllm.evaluation.ask.setting import Setting, SettingError, make_setting
from eah_vllm.evaluation.command import add_server_options, add_tasks, server_of
from eah_vllm.evaluation.count.summary import summarize
from eah_vllm.evaluation.report.page import write_report
from eah_vllm.evaluation.sweep import cells as sweep
from eah_vllm.evaluation.sweep.length_control import tune_end_bias
from eah_vllm.evaluation.sweep.result import Outcome, outcome, write_config
from eah_vllm.evaluation.task import Task, TaskError, caption_groups
from eah_vllm.evaluation.tasks.subset import Subset, deal

FEWEST = 20
Value = TypeVar("Value")


def run_sweep(
    server: Server, task: Task, places: Sequence[sweep.Place], out: Path, *, max_recall_loss: float = 1.0, seed: int = 0
) -> Outcome:
    """Choose on one half, measure on the other; write `sweep.json`, `summary.json`, `report.html` and `config.yaml`.

    Args:
        server: the server to ask.
        task: the task whose questions are asked.
        places: the cells of the grid.
        out: folder of the run.
        max_recall_loss: points of recall that a setting may lose.
        seed: seed with which the pictures are dealt into halves.

    Raises:
        AskError, RunError, SettingError: see these classes.
        TaskError: the task has too few pictures.
    """
    choosing, reporting = deal(task, seed)
    if len(reporting) < FEWEST // 2:
        raise TaskError(f"a sweep needs at least {FEWEST} pictures, got {len(choosing) + len(reporting)}")
    off = make_setting(None)
    identity = {**task.identity(), "model": server.model, "version": version("eah-vllm"), "sweep": {"deal": seed}}
    answers = AnswerFile(out, identity)
    settings: list[Setting] = [off]
    report_on = Subset(task, reporting)
    try:
        cells = sweep.search(server, task, places, choosing, answers, max_recall_loss)
        chosen_on = Subset(task, choosing).tallies(answers.by_setting[off.name])
        metric = sweep.objective(next(iter(chosen_on.values())))
        chosen = sweep.choose(cells, 1 if metric.lower_is_better else -1, max_recall_loss)
        if chosen is not None:
            setting = chosen.place.setting
            settings = [off, setting, *controls([setting])]
        settings = list(dict.fromkeys(settings))
        ask_all(server, report_on, settings, answers, title="reporting half")
        settings += ask_twins(server, report_on, settings, answers)
        settings += ask_fixed_heads(server, report_on, settings, answers, out)
        if chosen is not None and caption_groups(task) and server.end_token_id is not None:
            settings.append(tune_end_bias(server, report_on, chosen.place.setting, answers))
    finally:
        answers.close()
    rows = summarize(report_on, settings, answers)
    found = outcome(cells, chosen, rows, settings, metric, len(choosing), max_recall_loss)
    (out / "sweep.json").write_text(json.dumps(found.data, indent=1) + "\n", encoding="utf-8")
    (out / "summary.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    write_config(found, task.name, server.model, out / "config.yaml")
    write_report(server, report_on, settings, answers, rows, found.told, out)
    return found


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the grid, and for what a setting may cost."""
    parser.add_argument("--layers", type=_indices, default=[], help="of EAH, for example 0-4 or 0,2,5")
    parser.add_argument("--relative-thresholds", type=_list_of(float), help="multiples of 1/S (default 1,1.5,2,3)")
    parser.add_argument("--thresholds", type=_list_of(float), default=[], help="absolute, for example 0.001,0.002")
    parser.add_argument("--heads", type=_list_of(_head), default=["auto"], help="auto, or fixed heads: auto,0,3")
    parser.add_argument("--setting", help="in place of EAH's layers and thresholds: another method, beside --try")
    parser.add_argument(
        "--try", action="append", default=[], type=_tried, dest="tried", metavar="OPTION=VALUE,VALUE",
        help="values of an option, the parts of a list with + between them (layers=1,1+3); again for other options",
    )  # fmt: skip
    parser.add_argument("--max-recall-loss", type=float, default=1.0, help="points of recall (default 1.0)")
    parser.add_argument("--deal-seed", type=int, default=0, help="deals the pictures into halves")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `eah-vllm sweep` and return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(prog="eah-vllm sweep", description=sweep.__doc__)
    for task in add_tasks(parser).values():
        add_server_options(task)
        add_sweep_options(task)
    args = parser.parse_args(argv)
    if args.end_token_id is None:
        args.end_token_id = getattr(args, "default_end_token_id", None)
    relative = args.relative_thresholds
    if relative is None:
        relative = [] if args.thresholds else [1.0, 1.5, 2.0, 3.0]
    try:
        if args.setting is not None and not args.layers:
            places = sweep.grid_of(args.setting, dict(args.tried))
        elif args.setting is not None or args.tried:
            raise SettingError("--setting and --try are of another method: they stand together, without --layers")
        else:
            places = sweep.grid(args.layers, relative, args.thresholds, args.heads)
        found = run_sweep(
            server_of(args), args.make_task(args), places, args.out, max_recall_loss=args.max_recall_loss,
            seed=args.deal_seed,
        )  # fmt: skip
    except (SettingError, TaskError, RunError, AskError) as error:
        sys.stderr.write(f"eah-vllm sweep: {error}\n")
        return 1
    sys.stdout.write(found.told + "\n")
    return 0


def _indices(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise argparse.ArgumentTypeError(f"{part!r} is neither a layer nor a range such as 0-4")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def _tried(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    found = [part.strip() for part in values.split(",") if part.strip()]
    if not equals or not name.strip() or not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not OPTION=VALUE,VALUE")
    return name.strip(), found


def _list_of(read: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    def read_all(text: str) -> list[Value]:
        try:
            return [read(part.strip()) for part in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_all


def _head(text: str) -> Any:
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    sys.exit(main())
