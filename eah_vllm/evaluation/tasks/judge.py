"""`eah-vllm eval judge`: a vision model compares the captions of two settings, as GPT-4V does in the EAH paper."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.ask.answers import AnswerFile, RunError
from eah_vllm.evaluation.ask.asking import AskError, Server, ask_all
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import OFF, SettingError, make_setting
from eah_vllm.evaluation.task import TaskError
from eah_vllm.evaluation.tasks.judged import JudgeTask, judged
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.scenes.world import make_scene

PLAINLY = make_setting(None)
"""The setting under which the judge itself is asked."""
CAPTION = "/caption"


def read_run(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Read what `eah-vllm eval` has left in a folder: `run.json`, and the captions by setting and picture.

    Raises:
        TaskError: the folder has no run, or the run has no captions.
    """
    captions: dict[str, dict[str, str]] = {}
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        whole = (folder / "answers.jsonl").read_bytes()
        for line in whole[: whole.rfind(b"\n") + 1].splitlines():
            answer = json.loads(line)
            if answer["question"].endswith(CAPTION):
                unit = answer["question"].removesuffix(CAPTION)
                captions.setdefault(answer["setting"], {})[unit] = answer["text"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TaskError(f"--answers {folder}: not what `eah-vllm eval` leaves ({error!r})") from None
    if not captions:
        raise TaskError(f"--answers {folder}: the run has no captions (task {run.get('task')!r})")
    return run, captions


def pictures_of(run: Mapping[str, Any], images: Path | None) -> Callable[[str], tuple[bytes, str]]:
    """Return a function that gives a picture by its name, as the run has sent it.

    Raises:
        TaskError: the run's pictures are files, and `images` does not name their folder.
    """
    if run.get("task") == ScenesTask.name:
        return _scene
    if images is None or not images.is_dir():
        raise TaskError(f"judge: --images must be the folder with the pictures of this run (task {run.get('task')!r})")

    def picture(unit: str) -> tuple[bytes, str]:
        return (images / unit).read_bytes(), "image/jpeg"

    return picture


def _scene(unit: str) -> tuple[bytes, str]:
    """Return the scene as `ScenesTask` sends it; the task itself would first make all its yes/no questions."""
    buffer = io.BytesIO()
    make_scene(int(unit)).pil().save(buffer, format="PNG")
    return buffer.getvalue(), "image/png"


def make_task(args: argparse.Namespace) -> JudgeTask:
    """Make the judge's questions about a run's captions.

    Raises:
        TaskError: the run lacks a setting, or a picture is not where it should be.
    """
    run, captions = read_run(args.answers)
    sides = [_captions(captions, text) for text in (args.setting_a, args.setting_b)]
    pictures = pictures_of(run, args.images)
    if run["task"] != ScenesTask.name:
        for unit in sides[0]:
            if not (args.images / unit).is_file():
                raise TaskError(f"judge: {args.images / unit} is not there")
    told = json.dumps(sides, sort_keys=True).encode()
    identity = {"a": args.setting_a, "b": args.setting_b, "captions": hashlib.sha256(told).hexdigest()}
    return JudgeTask(pictures, sides[0], sides[1], identity, args.max_tokens)


def _captions(captions: Mapping[str, dict[str, str]], text: str) -> dict[str, str]:
    name = text if text in captions else parse_setting(text).name
    if name not in captions:
        raise TaskError(f"judge: the run has no captions of {text!r}; it has {', '.join(map(repr, captions))}")
    return captions[name]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `eah-vllm eval judge` and return the exit status."""
    parser = argparse.ArgumentParser(prog="eah-vllm eval judge", description=__doc__)
    parser.add_argument("--answers", type=Path, required=True, help="folder of a run of `eah-vllm eval`")
    parser.add_argument("--judge-url", required=True, help="OpenAI-compatible server of the judge")
    parser.add_argument("--judge-model", required=True)
    parser.add_argument("--judge-key", default="EMPTY")
    parser.add_argument("--setting-a", default=OFF, help="default: off")
    parser.add_argument("--setting-b", default="on", help="default: on")
    parser.add_argument("--images", type=Path, help="folder of the pictures, if they are files")
    parser.add_argument("--max-tokens", type=int, default=300, help="tokens of an answer (default 300)")
    parser.add_argument("--concurrency", type=int, default=4, help="requests in flight (default 4)")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a judge that is away")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer")
    parser.add_argument("--out", type=Path, help="default: the folder judge in that of the answers")
    args = parser.parse_args(argv)
    judge = Server(args.judge_url, args.judge_model, args.judge_key, args.concurrency, args.patience, args.timeout)
    try:
        found = run_judge(judge, make_task(args), args.out or args.answers / "judge")
    except (SettingError, TaskError, RunError, AskError) as error:
        sys.stderr.write(f"eah-vllm eval judge: {error}\n")
        return 1
    sys.stdout.write(_told(found) + "\n")
    return 0


def run_judge(judge: Server, task: JudgeTask, out: Path) -> dict[str, Any]:
    """Ask what was not asked before, write `judge.json`, and return its content.

    Raises:
        AskError, RunError: see these classes.
    """
    identity = {**task.identity(), "model": judge.model}
    answers = AnswerFile(out, identity)
    try:
        ask_all(judge, task, [PLAINLY], answers)
    finally:
        answers.close()
    found = {**identity, **judged(task, answers.by_setting[PLAINLY.name])}
    (out / "judge.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _told(found: Mapping[str, Any]) -> str:
    head = f"{found['judged']} of {found['pictures']} pictures judged in both orders"
    head += f"; {found['unparsable']} of {found['answers']} answers have no scores that can be read."
    if not found["judged"]:
        return head
    parts = []
    for name in ("correctness", "detail"):
        score = found[name]
        low, high = score["difference"]["ci95"]
        parts.append(
            f"{name.capitalize()}: a {score['a']['mean']:.2f}, b {score['b']['mean']:.2f}; b - a "
            f"{score['difference']['value']:+.2f} [{low:+.2f}, {high:+.2f}] ({score['difference']['verdict']})."
        )
    return "\n".join([head, f"a: {found['a']}. b: {found['b']}.", *parts])
