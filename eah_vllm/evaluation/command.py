"""`eah-vllm eval TASK --base-url URL --model NAME --out DIR`: ask, count, write `summary.json` and the report."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.ask.answers import AnswerFile, RunError
from eah_vllm.evaluation.ask.asking import AskError, Server, ask_all
from eah_vllm.evaluation.ask.controls import ask_curve, ask_fixed_heads, ask_twins, controls
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import DRAWS, Setting, SettingError, make_setting
from eah_vllm.evaluation.checked.objects import Remover
from eah_vllm.evaluation.checked.result import verify_controls, verify_facts, verify_verdict, write_facts
from eah_vllm.evaluation.cost.measure import kept_cost, measure_cost
from eah_vllm.evaluation.count.method_verdict import method_verdict
from eah_vllm.evaluation.count.summary import summarize
from eah_vllm.evaluation.count.verdict import verdict
from eah_vllm.evaluation.report.markdown import write_table
from eah_vllm.evaluation.report.page import write_report
from eah_vllm.evaluation.sweep.length_control import tune_end_bias
from eah_vllm.evaluation.task import Task, TaskError
from eah_vllm.evaluation.tasks import chair, judge, pope
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.scenes.tokenizer import EOS_ID

_LOG = logging.getLogger(__name__)


def run(
    server: Server,
    task: Task,
    settings: Sequence[Setting],
    out: Path,
    *,
    with_controls: bool,
    with_fixed_heads: bool = True,
    with_heads: bool = True,
    remove: Remover | None = None,
    choose_threshold: bool = False,
    cost_rounds: int = 0,
) -> str:
    """Ask everything, write `summary.json`, `table.md` and `report.html`, and return the verdict.

    Args:
        server: the server to ask.
        task: the task whose questions are asked.
        settings: the settings to ask under; the others are compared with the first.
        out: folder of the run.
        with_controls: whether to ask also with other heads, and for captions that end sooner.
        with_fixed_heads: whether every fixed head in turn is among the controls.
        with_heads: whether any other head is among the controls.
        remove: the server's code that takes objects out of a text, for the controls of settings with `verify`.
        choose_threshold: whether to look for the threshold of `verify` on these pictures.
        cost_rounds: how often the settings are timed after everything was asked.

    Raises:
        AskError, RunError, SettingError: see these classes.
    """
    given = tuple(dict.fromkeys(settings))
    settings = [*given, *(controls(given) if with_controls and with_heads else ())]
    identity = {**task.identity(), "model": server.model, "version": version("eah-vllm")}
    answers = AnswerFile(out, identity)
    try:
        ask_all(server, task, settings, answers)
        if with_controls:
            settings += verify_controls(task, settings, answers, remove)
            settings += ask_twins(server, task, settings, answers)
            settings += ask_curve(server, task, settings, answers)
        if with_controls and with_heads and with_fixed_heads:
            settings += ask_fixed_heads(server, task, settings, answers, out)
        chosen = [setting for setting in settings if setting.lets_eah_choose and not setting.end_bias]
        has_captions = any(question.group == "caption" for question in task.questions())
        if with_controls and chosen and has_captions:
            if server.end_token_id is None:
                _LOG.warning("no length control: --end-token-id is not given")
            elif make_setting(None) in settings:
                settings.append(tune_end_bias(server, task, chosen[0], answers))
    finally:
        answers.close()
    settings = list(dict.fromkeys(settings))  # the tuned bias may be one of the curve's
    rows = summarize(task, settings, answers)
    main = "chairs" if has_captions else "f1"
    checked = verify_facts(task, settings, answers, remove, choose=choose_threshold)
    write_facts(checked, out)
    verdicts = verify_verdict(rows, checked), method_verdict(rows, settings, main), _eah_verdict(rows, settings, main)
    told = " ".join(filter(None, verdicts))
    (out / "summary.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    cost = measure_cost(server, task, given, cost_rounds, out) if cost_rounds else kept_cost(out)
    write_table(rows, cost, out)
    write_report(server, task, settings, answers, rows, told, out)
    return told


def _eah_verdict(rows: Sequence[Mapping[str, Any]], settings: Sequence[Setting], main: str) -> str:
    """Say what EAH did; nothing where a run is about verified captions or other methods alone."""
    others = any(setting.verify is not None or setting.methods for setting in settings)
    with_eah = any(setting.eah is not None and setting.verify is None and not setting.methods for setting in settings)
    return verdict(rows, settings, main) if with_eah or not others else ""


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the server, and the folder for the answers."""
    parser.add_argument(
        "--base-url", required=True, help="OpenAI-compatible server, for example http://127.0.0.1:8000/v1"
    )
    parser.add_argument("--model", required=True, help="served model name")
    parser.add_argument("--api-key", default="EMPTY")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a server that is away")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer")
    parser.add_argument("--end-token-id", type=int, help="token that ends a text, for the length control (LLaMA: 2)")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers.jsonl, summary.json and the report")


def server_of(args: argparse.Namespace) -> Server:
    """Return the server that the options name."""
    return Server(
        args.base_url, args.model, args.api_key, args.concurrency, args.patience, args.timeout, args.end_token_id
    )


def add_tasks(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Add the tasks as subcommands, each with `make_task(args)` among its defaults, and return them by name."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    scenes = tasks.add_parser("scenes", help="the built-in world: captions and yes/no questions, offline")
    scenes.add_argument("--n", type=int, default=400, help="scenes (default 400)")
    scenes.add_argument("--seed", type=int, default=0, help="which scenes")
    scenes.add_argument("--split", choices=["test", "val"], default="test", help="val: for choosing settings")
    scenes.add_argument("--captions-only", action="store_true", help="leave out the yes/no questions")
    make: Callable[[Any], Task] = lambda args: ScenesTask(  # noqa: E731
        args.n, args.seed, args.split, captions_only=args.captions_only
    )
    scenes.set_defaults(make_task=make, default_end_token_id=EOS_ID)
    return {"scenes": scenes, "chair": chair.add_parser(tasks), "pope": pope.add_parser(tasks)}


def main(argv: Sequence[str] | None = None, remove: Remover | None = None) -> int:
    """Run `eah-vllm eval` and return the exit status.

    Args:
        argv: the arguments after `eval`.
        remove: the server's code that takes objects out of a text; this package does not import the server's.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["judge"]:  # this asks about a run's answers, and so has other options
        return judge.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="eah-vllm eval", description=__doc__, epilog="eval judge --help: let a model judge a run's captions"
    )
    for task in add_tasks(parser).values():
        add_server_options(task)
        task.add_argument(
            "--setting", "--eah", action="append", metavar="SETTING", dest="settings",
            help="off, on, options such as layer=1,threshold=0.002, another method with its options such as "
            "NAME,layers=1+3, or verify,action=rewrite; again for more; the first is what others are compared with "
            "(default: off, on)",
        )  # fmt: skip
        task.add_argument(
            "--no-controls", action="store_true",
            help="leave out other heads, random twins, captions that end sooner, random removal",
        )  # fmt: skip
        task.add_argument("--no-heads", action="store_true", help="of the controls, leave out other heads")
        task.add_argument(
            "--cost", type=int, default=0, metavar="ROUNDS",
            help="also time the settings in turns with the first, so many times; nobody else should use the machine",
        )  # fmt: skip
        task.add_argument(
            "--choose-threshold", action="store_true",
            help="look for the threshold of verify on these pictures, which no result should be told of then",
        )  # fmt: skip
        task.add_argument(
            "--no-fixed-heads", action="store_true",
            help=f"of the controls, leave out fixed heads; keep a random head ({DRAWS} draws), the sparsest and length",
        )  # fmt: skip
    args = parser.parse_args(arguments)
    if args.end_token_id is None:
        args.end_token_id = getattr(args, "default_end_token_id", None)
    try:
        settings = [parse_setting(text) for text in args.settings or ["off", "on"]]
        told = run(
            server_of(args), args.make_task(args), settings, args.out, with_controls=not args.no_controls,
            with_fixed_heads=not args.no_fixed_heads, with_heads=not args.no_heads, remove=remove,
            choose_threshold=args.choose_threshold, cost_rounds=args.cost,
        )  # fmt: skip
    except (SettingError, TaskError, RunError, AskError) as error:
        sys.stderr.write(f"eah-vllm eval: {error}\n")
        return 1
    sys.stdout.write(told + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
