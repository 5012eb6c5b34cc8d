"""`eval judge` with a judge that looks at the picture, one that looks at the place only, and one that rambles."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.task import Answer
from eah_vllm.evaluation.tasks.judge import main
from eah_vllm.evaluation.tasks.judged import read_scores
from eah_vllm.scenes.vocabulary import NAMES
from eah_vllm.scenes.world import Scene, split_scenes
from tests.judge_server import JudgeServer, score, truthful

N = 12
SCENES = split_scenes("test", N)


def captions(scene: Scene) -> tuple[str, str]:
    """A caption with a thing that is not there, and a shorter one that is right."""
    there = sorted(scene.names)
    absent = next(name for name in NAMES if name not in scene.names)
    return f"I see a {' and a '.join([*there, absent])}.", f"I see a {there[0]}."


@pytest.fixture
def run(tmp_path: Path) -> Path:
    answers = AnswerFile(tmp_path / "run", {"task": "scenes", "split": "test", "n": N, "seed": 0})
    for scene in SCENES:
        for setting, text in zip(("off", "layer=1"), captions(scene), strict=True):
            answers.add(setting, f"{scene.seed}/caption", Answer(text))
        answers.add("off", f"{scene.seed}/random/yes", Answer("Yes."))
    answers.close()
    return tmp_path / "run"


def judge(run: Path, server: JudgeServer, *more: str) -> int:
    options = ["--answers", str(run), "--judge-url", server.url, "--judge-model", "j", "--setting-b", "layer=1"]
    return main([*options, *more])


def found(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "judge/judge.json").read_text()))


def test_a_judge_that_looks_finds_the_difference(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JudgeServer(SCENES) as server:
        assert judge(run, server) == 0
    orders = Counter((scene.seed, first, second) for scene, first, second in server.asked)
    assert orders == Counter((s.seed, *pair) for s in SCENES for pair in (captions(s), captions(s)[::-1]))
    told = found(run)
    assert (told["pictures"], told["judged"], told["answers"], told["unparsable"]) == (N, N, 2 * N, 0)
    for i, name in enumerate(("correctness", "detail")):
        means = [sum(score(scene, captions(scene)[side])[i] for scene in SCENES) / N for side in (0, 1)]
        assert [told[name][side]["mean"] for side in ("a", "b")] == pytest.approx(means, abs=1e-3)
        difference = told[name]["difference"]
        assert difference["value"] == pytest.approx(means[1] - means[0], abs=1e-3)
        assert difference["ci95"][0] <= difference["value"] <= difference["ci95"][1]
        assert told["position"][name]["difference"]["value"] == 0
    assert told["correctness"]["difference"]["verdict"] == "b is higher"
    assert told["detail"]["difference"]["verdict"] == "a is higher"
    assert "12 of 12 pictures judged in both orders; 0 of 24 answers" in capsys.readouterr().out


def test_a_judge_that_prefers_the_first_place_finds_none(run: Path) -> None:
    with JudgeServer(SCENES, lambda *_: "Correctness: 9 2\nDetail: 8 1\nThe first one is better.") as server:
        assert judge(run, server) == 0
    told = found(run)
    for name in ("correctness", "detail"):
        assert told[name]["difference"] == {"value": 0.0, "ci95": [0.0, 0.0], "verdict": "no difference seen"}
        assert told["position"][name]["difference"] == {
            "value": -7.0,
            "ci95": [-7.0, -7.0],
            "verdict": "first is higher",
        }


def test_what_cannot_be_read_is_counted_and_left_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vague = {scene.seed for scene in SCENES[:5]}

    def rule(scene: Scene, first: str, second: str) -> str:
        # Only in one order: such a picture must not count with the other order alone.
        hides = scene.seed in vague and (first, second) == captions(scene)
        return "I like both, 8/10!" if hides else truthful(scene, first, second)

    with JudgeServer(SCENES, rule) as server:
        assert judge(run, server) == 0
    told = found(run)
    assert (told["judged"], told["answers"], told["unparsable"]) == (N - 5, 2 * N, 5)
    assert set(told["unparsable_answers"]) == {f"{seed}/ab" for seed in vague}
    kept = [score(scene, captions(scene)[0])[0] for scene in SCENES[5:]]
    assert told["correctness"]["a"]["mean"] == pytest.approx(sum(kept) / len(kept), abs=1e-3)
    assert "5 of 24 answers have no scores" in capsys.readouterr().out


def test_nothing_is_asked_twice(run: Path) -> None:
    with JudgeServer(SCENES) as server:
        assert judge(run, server) == 0
        before = found(run)
        kept = (run / "judge/answers.jsonl").read_text().splitlines(keepends=True)
        (run / "judge/answers.jsonl").write_text("".join(kept[:9]) + kept[9][:20])  # as a kill leaves it
        assert judge(run, server) == 0
    assert len(server.asked) == 2 * N + 2 * N - 9
    assert found(run) == before


def test_a_changed_run_is_not_mixed_with_the_judged_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JudgeServer(SCENES) as server:
        assert judge(run, server) == 0
        text = (run / "answers.jsonl").read_text()
        (run / "answers.jsonl").write_text(text.replace("I see a", "There is a"))
        assert judge(run, server) == 1
    assert "holds another run (captions:" in capsys.readouterr().err
    assert len(server.asked) == 2 * N


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("Correctness: 7 9\nDetail: 6 8", {"correctness": (7, 9), "detail": (6, 8)}),
        ("  correctness: 7.5, 10\n\nDETAIL: 0 0\nBecause ...", {"correctness": (7.5, 10), "detail": (0, 0)}),
        ("Correctness: 7 9", None),
        ("Correctness: 7 11\nDetail: 6 8", None),
        ("Correctness: -7 9\nDetail: 6 8", None),
        ("Correctness: 7/10 9/10\nDetail: 6 8", None),
        ("Correctness: 7 9 3\nDetail: 6 8", None),
        ("Correctness: 7 9\nCorrectness: 1 2\nDetail: 6 8", None),
        ("Correctness: 7\n9\nDetail: 6 8", None),
        ("Correctness: <score> <score>\nDetail: <score> <score>", None),
        ("", None),
    ],
)
def test_scores_are_read_strictly(text: str, scores: dict[str, tuple[float, float]] | None) -> None:
    assert read_scores(text) == scores


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--setting-b", "layer=2"], "the run has no captions of 'layer=2'; it has 'off', 'layer=1'"),
        (["--setting-b", "layer"], "neither on, off, verify nor"),
        (["--answers", "nowhere"], "not what `eah-vllm eval` leaves"),
        (["--patience", "0", "--judge-url", "http://127.0.0.1:9/v1"], "stays away"),
    ],
)
def test_what_cannot_be_judged_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    with JudgeServer(SCENES) as server:
        assert judge(run, server, *options) == 1
    assert told in capsys.readouterr().err
    assert not server.asked
    assert not (run / "judge/judge.json").exists()


def test_a_run_about_files_needs_their_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "run.json").write_text('{"task": "chair"}')
    with JudgeServer(SCENES) as server:
        assert judge(run, server) == 1
        assert "--images must be the folder" in capsys.readouterr().err
        assert judge(run, server, "--images", str(run)) == 1
        assert "is not there" in capsys.readouterr().err
