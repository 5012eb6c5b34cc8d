"""`eval chair`, `eval pope` and `eval judge` against a real server with the built-in model."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.count.yes_no import says_no
from eah_vllm.scenes.world import split_scenes
from tests.server.conftest import ROOMY, Running
from tests.unit.coco_case import CATEGORIES, image_name, make_coco
from tests.unit.independent_chair import IndependentChair
from tools.serving import API_KEY, Server

N = 4
SETTINGS = ["--eah", "off", "--eah", "layer=1,relative_threshold=1.5", "--no-controls"]


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running(ROOMY)[0]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's files, with scenes of the built-in world as pictures, so that the model has something to say."""
    folder = tmp_path_factory.mktemp("coco") / "2014"
    ids = list(make_coco(folder, N))
    for id_, scene in zip(ids, split_scenes("test", N), strict=True):
        scene.pil().save(folder / "images" / image_name(id_), quality=95)
    return folder


def evaluate(server: Server, task: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [str(Path(sys.executable).with_name("eah-vllm")), "eval", task, "--out", str(out)]
    words += ["--base-url", f"http://127.0.0.1:{server.port}/v1", "--model", "scenes", "--api-key", API_KEY]
    done = subprocess.run([*words, *SETTINGS, *options], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def answers(out: Path) -> dict[str, dict[str, str]]:
    said: dict[str, dict[str, str]] = {}
    for line in (out / "answers.jsonl").read_text().splitlines():
        answer = json.loads(line)
        said.setdefault(answer["setting"], {})[answer["question"]] = answer["text"]
    return said


def rows(out: Path) -> list[dict[str, Any]]:
    return list(json.loads((out / "summary.json").read_text()))


def test_chair(server: Server, coco: Path, tmp_path: Path) -> None:
    options = ["--images", coco / "images", "--annotations", coco / "annotations", "--words", coco / "synonyms.txt"]
    evaluate(server, "chair", tmp_path, *map(str, options), "--n", str(N), "--max-tokens", "60")
    said = answers(tmp_path)
    other = IndependentChair(coco)
    for row in rows(tmp_path):
        captions = [(int(id_.split("_")[2][:12]), text) for id_, text in said[row["setting"]].items()]
        assert (row["n"], len(captions)) == (N, N)
        expected = other.score(captions)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert rows(tmp_path)[1]["applied"]["share"] == 1.0


def test_pope(server: Server, coco: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (coco / "images").iterdir())
    rng = random.Random(0)
    labels: dict[str, str] = {}
    files = []
    for split in ("random", "popular", "adversarial"):
        files.append(tmp_path / f"coco_pope_{split}.json")
        with files[-1].open("w") as file:
            for number, name in enumerate(names * 2):
                label = labels[f"{split}/{number}"] = ("yes", "no")[number % 2]
                text = f"Is there a {rng.choice(CATEGORIES)} in the image?"
                question = {"question_id": number, "image": name, "text": text, "label": label}
                file.write(json.dumps(question) + "\n")
    options = ["--images", str(coco / "images"), "--questions", *map(str, files)]
    evaluate(server, "pope", tmp_path / "out", *options)
    said = answers(tmp_path / "out")
    for row in rows(tmp_path / "out"):
        assert set(row["parts"]) == {"random", "popular", "adversarial"}
        for split, figures in [("", row), *row["parts"].items()]:
            asked = {id_: text for id_, text in said[row["setting"]].items() if id_.startswith(split)}
            right = sum((labels[id_] == "no") == says_no(text) for id_, text in asked.items())
            assert len(asked) == 2 * N * (1 if split else 3)
            assert figures["accuracy"] == pytest.approx(100 * right / len(asked), abs=1e-4)


def test_a_judge_that_cannot_judge_is_told_and_loses_no_answer(server: Server, tmp_path: Path) -> None:
    evaluate(server, "scenes", tmp_path, "--n", str(N))
    words = [str(Path(sys.executable).with_name("eah-vllm")), "eval", "judge", "--answers", str(tmp_path)]
    words += ["--judge-url", f"http://127.0.0.1:{server.port}/v1", "--judge-model", "scenes", "--judge-key", API_KEY]
    words += ["--setting-b", SETTINGS[3], "--max-tokens", "20"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"0 of {N} pictures judged in both orders; {2 * N} of {2 * N} answers have no scores" in done.stdout
    told = json.loads((tmp_path / "judge/judge.json").read_text())
    assert (told["judged"], told["answers"], told["unparsable"]) == (0, 2 * N, 2 * N)
    assert told["correctness"] is None
    assert len((tmp_path / "judge/answers.jsonl").read_text().splitlines()) == 2 * N
