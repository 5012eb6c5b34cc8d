"""`eval pope`: its figures against POPE's own formulas, and what it refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eah_vllm.evaluation.count.statistics import measure
from eah_vllm.evaluation.task import Answer, Tally, TaskError
from eah_vllm.evaluation.tasks.pope import PopeTask, split_of
from tests.unit.coco_case import image_name

SPLITS = ("random", "popular", "adversarial")
ANSWERS = ["Yes.", "No.", "no", "yes", "Yes, there is. No doubt.", "There is not.", "There isn't.", "NO", "A dog.", ""]
ANSWERS += ["No, there is none.", "Not that I see", "I do not see one", "No\nnone", "Yes"]
UNCLEAR = {"There is not.", "There isn't.", "NO", "A dog.", "", "Not that I see", "I do not see one", "No\nnone"}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three files of 60 questions about ten pictures."""
    (tmp_path / "images").mkdir()
    names = [image_name(number) for number in range(10)]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    found = {split: tmp_path / f"coco_pope_{split}.json" for split in SPLITS}
    for path in found.values():
        rows = [
            {"question_id": i + 1, "image": names[i // 6], "text": f"Is there a {i}?", "label": ("yes", "no")[i % 2]}
            for i in range(60)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


def as_pope_counts(labels: list[str], answers: list[str]) -> dict[str, float]:
    """As POPE's evaluate.py has it: the first sentence, no commas, No, not or no among the words."""
    said = []
    for answer in answers:
        words = answer.partition(".")[0].replace(",", "").split(" ")
        said.append("no" if {"No", "not", "no"} & set(words) else "yes")
    pairs = list(zip(said, labels, strict=True))
    tp, fp = pairs.count(("yes", "yes")), pairs.count(("yes", "no"))
    tn, fn = pairs.count(("no", "no")), pairs.count(("no", "yes"))
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return {
        "accuracy": 100 * (tp + tn) / len(pairs),
        "precision": 100 * precision,
        "recall": 100 * recall,
        "f1": 100 * 2 * precision * recall / (precision + recall),
        "yes_ratio": 100 * said.count("yes") / len(said),
        "unclear": 100 * sum(answer in UNCLEAR for answer in answers) / len(answers),
    }


def figures(tally: Tally) -> dict[str, float | None]:
    return {metric.name: measure(tally, metric) for metric in tally.metrics}


def test_figures_are_popes_per_split_and_over_all(files: dict[str, Path], tmp_path: Path) -> None:
    task = PopeTask(tmp_path / "images", files)
    rng = random.Random(0)
    said = {question.id: rng.choice(ANSWERS) for question in task.questions()}
    labels = {f"{split}/{number + 1}": ("yes", "no")[number % 2] for split in SPLITS for number in range(60)}
    assert said.keys() == labels.keys()
    tallies = task.tallies({id_: Answer(text) for id_, text in said.items()})
    assert list(tallies) == ["yes_no", *SPLITS]
    for name, tally in tallies.items():
        ids = [id_ for id_ in said if name == "yes_no" or id_.startswith(name)]
        expected = as_pope_counts([labels[id_] for id_ in ids], [said[id_] for id_ in ids])
        assert figures(tally) == pytest.approx(expected)
        assert len(tally.units) == 10


def test_questions_are_asked_as_they_stand(files: dict[str, Path], tmp_path: Path) -> None:
    task = PopeTask(tmp_path / "images", files, suffix=" One word.", max_tokens=7)
    first = task.questions()[0]
    assert (first.id, first.unit, first.group) == ("random/1", image_name(0), "random")
    assert (first.text, first.max_tokens) == ("Is there a 0? One word.", 7)
    assert task.image(first.unit) == ((tmp_path / "images" / first.unit).read_bytes(), "image/jpeg")
    assert len(task.questions()) == 180
    assert task.tallies({first.id: Answer("Yes")})["popular"].counts.shape == (0, 5)


def test_another_file_is_another_run(files: dict[str, Path], tmp_path: Path) -> None:
    before = PopeTask(tmp_path / "images", files).identity()
    change(files["random"], 5, text="Is there a unicorn?")
    after = PopeTask(tmp_path / "images", files).identity()
    assert before["questions"]["popular"] == after["questions"]["popular"]
    assert before["questions"]["random"] != after["questions"]["random"]


def change(path: Path, line: int, **fields: Any) -> None:
    lines = path.read_text().splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **fields})
    path.write_text("\n".join(lines) + "\n")


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-30])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, r"coco_pope_popular.json, line 60: not JSON"),
        (lambda path: change(path, 6, label="maybe"), r"line 7: 'label' must be \"yes\" or \"no\", got 'maybe'"),
        (lambda path: change(path, 6, text=""), r"line 7: 'text' must be a text"),
        (lambda path: change(path, 6, image=None), r"line 7: 'image' must be a text, got None"),
        (lambda path: change(path, 6, image=image_name(77)), r"line 7: .*000077.jpg: not a picture"),
        (lambda path: change(path, 6, image="../secret.jpg"), r"line 7: 'image' must be the name of a file"),
        (lambda path: change(path, 6, question_id=None), r"line 7: must be an object with question_id"),
        (lambda path: change(path, 6, question_id=3), r"line 7: question_id 3 is there twice"),
        (lambda path: path.write_text("\n\n"), r"no question in it"),
        (lambda path: path.write_text('["a"]\n'), r"line 1: must be an object"),
        (lambda path: path.unlink(), r"questions: .*coco_pope_popular.json"),
    ],
)
def test_bad_lines_are_refused_with_their_number(
    files: dict[str, Path], tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(files["popular"])
    with pytest.raises(TaskError, match=told):
        PopeTask(tmp_path / "images", files)


def test_splits_are_known_by_name() -> None:
    assert split_of("a/coco_pope_adversarial.json") == ("adversarial", Path("a/coco_pope_adversarial.json"))
    assert split_of("random=a/b.json") == ("random", Path("a/b.json"))
    assert split_of("mine=a/b.json") == ("mine", Path("a/b.json"))
    for text in ("a/questions.json", "random_or_popular.json"):
        with pytest.raises(TaskError, match="name the split"):
            split_of(text)
