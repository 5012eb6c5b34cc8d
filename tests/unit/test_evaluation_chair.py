"""`eval chair`: its scorer against an independent one, its choice of pictures, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.count.chair_counts import ReadCaption, tally_captions
from eah_vllm.evaluation.count.statistics import measure
from eah_vllm.evaluation.task import Answer, TaskError
from eah_vllm.evaluation.tasks.chair import ChairTask
from eah_vllm.evaluation.tasks.chair_words import CaptionReader
from eah_vllm.evaluation.tasks.coco import coco_images, draw, objects_by_image
from eah_vllm.evaluation.tasks.word_list import load_words
from tests.unit.coco_case import image_name, make_captions, make_coco, write
from tests.unit.independent_chair import IndependentChair

IMAGES = 120


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[str]]]:
    folder = tmp_path_factory.mktemp("coco") / "2014"
    return folder, make_coco(folder, IMAGES)


def task(folder: Path, **options: Any) -> ChairTask:
    words = load_words(folder / "synonyms.txt")
    return ChairTask(folder / "images", folder / "annotations", words, **{"number": 20, **options})


def test_it_scores_600_captions_as_an_independent_scorer_does(coco: tuple[Path, dict[int, list[str]]]) -> None:
    folder, segmented = coco
    captions = make_captions(segmented, per_image=5)
    assert len(captions) == 600
    reader = CaptionReader(load_words(folder / "synonyms.txt"))
    present = objects_by_image(folder / "annotations", coco_images(folder / "images"), reader)
    other = IndependentChair(folder)
    assert present == other.present
    read = {}
    for number, (image, caption) in enumerate(captions):
        mentions = [mention.category for mention in reader.mentions(caption)]
        assert mentions == other.objects(caption), caption
        read[str(number)] = ReadCaption(mentions, present[image], len(caption.split()))
    tally = tally_captions(read)
    ours = {metric.name: measure(tally, metric) for metric in tally.metrics}
    theirs = other.score(captions)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-9, rel=0)
    assert all(5 < value < 95 for value in theirs.values()), "the captions are all good or all bad"


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("A dog, two dogs and the dog's dog.", ["dog", "dog", "dog", "dog"]),
        ("hot dogs and a hot-dog stand", ["hot dog"]),
        ("a teddy bear. Bears.", ["teddy bear", "bear"]),
        ("the seat of the toilet", ["toilet"]),
        ("a seat", ["chair"]),
        ("a toilet seat and a bow tie", ["toilet", "tie"]),
        ("Baby elephants, a baby", ["elephant", "person"]),
        ("a passenger train on train tracks", ["train"]),
        ("men on skis hold wine glasses", ["person", "skis", "wine glass"]),
        ("seated skiing geese, catalogs", ["bird"]),
        ('"Buses"\n\nknives', ["bus", "knife"]),
        ("", []),
    ],
)
def test_mentions(coco: tuple[Path, dict[int, list[str]]], caption: str, named: list[str]) -> None:
    reader = CaptionReader(load_words(coco[0] / "synonyms.txt"))
    found = reader.mentions(caption)
    assert [mention.category for mention in found] == named
    for mention in found:
        assert re.fullmatch(r"[\w ]+", caption[mention.start : mention.end])


def test_absent_objects_are_marked_in_the_caption(coco: tuple[Path, dict[int, list[str]]]) -> None:
    chair = task(coco[0])
    unit, present = next((unit, found) for unit, found in chair._present.items() if not {"mouse", "skis"} & found)
    caption = "Mice near hot dogs and “hot dogs” on skis."
    marked = [caption[start:end] for start, end in chair.hallucinated_words(unit, caption)]
    assert [word for word in marked if "dog" not in word] == ["Mice", "skis"]
    assert ("hot dogs" in marked) == ("hot dog" not in present)


def test_answers_become_counts(coco: tuple[Path, dict[int, list[str]]]) -> None:
    chair = task(coco[0], number=3)
    answers = {question.id: Answer("two mice and a mouse") for question in chair.questions()[:2]}
    tally = chair.tallies(answers)["caption"]
    absent = sum("mouse" not in chair._present[unit] for unit in tally.units)
    assert list(tally.counts.sum(axis=0)[:4]) == [2, absent, 2 * absent, 4]


def test_the_pictures_are_the_same_wherever_the_folder_is_read(coco: tuple[Path, dict[int, list[str]]]) -> None:
    ids = list(coco[1])
    assert draw(ids, 50, 3) == draw(reversed(ids), 50, 3)
    assert draw(ids, 50, 3)[:20] == draw(ids, 20, 3)
    assert set(draw(ids, 20, 3)) != set(draw(ids, 20, 4))
    units = [question.unit for question in task(coco[0], seed=3).questions()]
    assert units == [image_name(id_) for id_ in draw(ids, 20, 3)]
    assert task(coco[0]).image(units[0])[0] == (coco[0] / "images" / units[0]).read_bytes()


def test_the_list_of_words_of_lmms_eval_is_read_without_running_it(coco: tuple[Path, dict[int, list[str]]]) -> None:
    words = load_words(coco[0] / "synonyms.txt")
    module = coco[0] / "utils.py"
    module.write_text(
        "import a_module_that_nobody_has\nMSCOCO_OBJECTS = []\n"
        f"INVERSE_SYNONYM_DICT = {words.category_of!r}\nDOUBLE_WORD_DICT = {words.pairs!r}\n"
    )
    read = load_words(module)
    assert (read.category_of, read.pairs) == (words.category_of, words.pairs)


def broken(folder: Path, name: str, text: str) -> Path:
    (folder / "annotations" / name).write_text(text)
    return folder


def entry(folder: Path, name: str, **change: Any) -> Path:
    content = json.loads((folder / "annotations" / name).read_text())
    content["annotations"][7] = {**content["annotations"][7], **change}
    write(folder, name, content)
    return folder


def rename(folder: Path) -> Path:
    (folder / "annotations/captions_val2014.json").replace(folder / "annotations/instances_val2014.json")
    return broken(folder, "captions_val2014.json", '{"annotations": []}')


def swap(folder: Path) -> Path:
    text = (folder / "annotations/instances_val2014.json").read_text()
    return broken(folder, "captions_val2014.json", text)


def other_images(folder: Path) -> Path:
    for path in (folder / "images").iterdir():
        path.replace(path.with_name(f"COCO_val2014_{900_000 + int(path.stem[-6:]):012d}.jpg"))
    return folder


def no_images(folder: Path) -> Path:
    for path in (folder / "images").iterdir():
        path.rename(path.with_suffix(".gif"))
    return folder


def damaged_image(folder: Path) -> Path:
    for path in (folder / "images").iterdir():
        path.write_bytes(b"not a picture")
    return folder


def no_words(folder: Path) -> Path:
    (folder / "synonyms.txt").write_text("dog\ncat\n")
    return folder


def fewer_words(folder: Path) -> Path:
    text = (folder / "synonyms.txt").read_text()
    (folder / "synonyms.txt").write_text(text.replace("mouse\n", ""))
    return folder


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: broken(f, "captions_val2014.json", "{"), r"captions_val2014.json: not JSON"),
        (lambda f: broken(f, "instances_val2014.json", "[]"), r"instances_val2014.json: no list 'annotations'"),
        (rename, r"instances_val2014.json: no list 'categories'; is it another file"),
        (swap, r"captions_val2014.json: 'caption' is missing"),
        (
            lambda f: entry(f, "captions_val2014.json", caption="  "),
            r"the caption is empty in an entry of 'annotations'",
        ),
        (lambda f: entry(f, "captions_val2014.json", caption=None), r"captions_val2014.json: .* in an entry"),
        (lambda f: entry(f, "instances_val2014.json", category_id=7), r"7 is missing or not known in an entry"),
        (fewer_words, r"'mouse' is missing or not known in an entry of 'categories'"),
        (no_words, r"not a list of words \(no line of the form"),
        (other_images, r"20 pictures are wanted, and 0 of the 120 in .* have captions"),
        (no_images, r"no picture with a name such as"),
        (damaged_image, r"not a picture that can be read"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(tmp_path: Path, damage: Any, told: str) -> None:
    make_coco(tmp_path / "2014", IMAGES)
    with pytest.raises(TaskError, match=told):
        task(damage(tmp_path / "2014"))


@pytest.mark.parametrize("missing", ["images", "annotations", "annotations/captions_val2014.json"])
def test_what_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    make_coco(tmp_path / "2014", 30)
    (tmp_path / "2014" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(TaskError, match=missing):
        task(tmp_path / "2014")
