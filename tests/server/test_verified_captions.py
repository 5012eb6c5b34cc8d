"""`eah-vllm eval` and `eah-vllm caption` with checked captions, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.checked.objects import checked_captions
from eah_vllm.evaluation.task import Answer
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.scenes.benchmark import hallucinated
from eah_vllm.scenes.world import split_scenes
from tests.server.conftest import Running
from tools.serving import API_KEY, Server

N = 24
NAME = "verify,action=rewrite"


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running([])[0]


def command(server: Server, *words: str | Path) -> subprocess.CompletedProcess[str]:
    to = ["--base-url", f"{server.url}/v1", "--model", "scenes", "--api-key", API_KEY]
    said = [str(Path(sys.executable).with_name("eah-vllm")), *map(str, words), *to]
    return subprocess.run(said, capture_output=True, text=True, check=False, timeout=500)


def test_an_evaluation_of_checked_captions(server: Server, tmp_path: Path) -> None:
    words = ["eval", "scenes", "--n", str(N), "--captions-only", "--out", tmp_path, "--choose-threshold"]
    words += ["--setting", "off", "--setting", "verify", "--setting", NAME]
    done = command(server, *words)
    assert done.returncode == 0, done.stderr
    rows = {row["setting"]: row for row in json.loads((tmp_path / "summary.json").read_text())}
    curve = [f"off,end_bias={bias}" for bias in ("0.5", "1", "2", "3", "4", "6", "8")]
    assert list(rows) == ["off", "verify", NAME, f"{NAME},removal=random", *curve]
    assert rows["off"]["parts"] == {}
    kept: dict[str, dict[str, Answer]] = {}
    for line in map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines()):
        setting, question = line.pop("setting"), line.pop("question")
        kept.setdefault(setting, {})[question] = Answer(**line)
    for id_, answer in kept["verify"].items():
        assert answer.text == kept["off"][id_].text, "a report leaves the answer as it is"
    task = ScenesTask(N, captions_only=True)
    captions = checked_captions(task, kept[NAME])
    assert any(one.denied for one in captions)
    assert rows[NAME]["chairs"] < rows["off"]["chairs"]
    facts = json.loads((tmp_path / "verify.json").read_text())
    report, rewritten = facts["settings"]
    assert (report["checked"], rewritten["checked"], report["errors"]) == (N, N, [])
    assert 0.5 < report["auroc"]["value"] <= 1
    assert report["cached_tokens"] > report["tokens"] / 2, "the questions share the picture's prefix"
    removal = rewritten["random_removal"]
    assert removal["same_text"] == 1.0
    assert removal["removed"] == [removal["removed_by_verify"]] * 5
    assert "chosen_threshold" in report
    again = command(server, *words)
    assert again.stdout == done.stdout


def test_captions_are_checked_and_rewritten(server: Server, tmp_path: Path) -> None:
    scenes = split_scenes("test", N)
    (tmp_path / "pictures").mkdir()
    for scene in scenes:
        scene.pil().save(tmp_path / "pictures" / f"{scene.seed}.png")
    out = tmp_path / "captions.jsonl"
    done = command(server, "caption", tmp_path / "pictures", "--verify", "action=rewrite", "--out", out)
    assert done.returncode == 0, done.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.read_text().splitlines()]
    changed = [line for line in lines if line["original"] is not None]
    assert changed
    assert f"{N} captions, 0 skipped, {len(changed)} changed" in done.stderr
    by_seed = {str(scene.seed): scene for scene in scenes}
    for line in lines:
        before, scene = line["original"] or line["text"], by_seed[Path(line["path"]).stem]
        assert all(before[one["start"] : one["end"]] == one["text"] for one in line["mentions"])
        assert line["verdicts"].get("denied", 0) == len(line["denied"]), "each object is named once"
        assert hallucinated(line["text"], scene) == hallucinated(before, scene) - set(line["denied"])
        assert line["unchecked"] is None
    refused = command(server, "caption", tmp_path, "--verify", "action=shout", "--out", tmp_path / "x.jsonl")
    assert (refused.returncode, "verify.action" in refused.stderr) == (1, True), refused.stderr
