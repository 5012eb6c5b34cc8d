"""`eval chair --drop-unfinished`: what a caption says in a sentence that the limit of tokens has cut is not counted."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.setting import make_setting
from eah_vllm.evaluation.command import add_tasks, run
from eah_vllm.evaluation.report.examples import draw_examples
from eah_vllm.evaluation.task import Answer
from eah_vllm.evaluation.tasks.chair import ChairTask
from eah_vllm.evaluation.tasks.subset import Subset
from eah_vllm.evaluation.tasks.word_list import load_words
from tests.unit.coco_case import make_coco
from tests.unit.evaluation_case import AWAY

OFF, ON = make_setting(None), make_setting({})
CUT = 'Two mice. A "mouse!" Mice and a'


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "2014"
    make_coco(folder, 40)
    return folder


def task(folder: Path, **options: Any) -> ChairTask:
    words = load_words(folder / "synonyms.txt")
    return ChairTask(folder / "images", folder / "annotations", words, **{"number": 20, **options})


@pytest.mark.parametrize(
    ("text", "finish_reason", "kept"),
    [
        (CUT, "length", 'Two mice. A "mouse!"'),
        ("A mouse (small one.) Mice", "length", "A mouse (small one.)"),
        ("Mice? Mice.", "length", "Mice? Mice."),
        ("A mouse weighs 1.5 grams and", "length", ""),
        ("A mouse.\n\n1. A mouse 2", "length", "A mouse.\n\n1."),
        ("Mice and a", "length", ""),
        ("", "length", ""),
        (CUT, "stop", CUT),
        (CUT, None, CUT),
    ],
)
def test_what_is_dropped(coco: Path, text: str, finish_reason: str | None, kept: str) -> None:
    dropping, counting = task(coco, drop_unfinished=True), task(coco)
    question = dropping.questions()[0]
    answers = {question.id: Answer(text, finish_reason)}
    assert dropping.captions(answers) == {question.unit: kept}
    assert counting.captions(answers) == {question.unit: text}
    for reader, said in ((dropping, kept), (counting, text)):
        tally = reader.tallies(answers)["caption"]
        found = dict(zip(tally.columns, tally.counts[0], strict=True))
        assert found["mentions"] == len(reader._reader.mentions(said))
        assert found["words"] == len(said.split())


def answered(coco: Path, folder: Path) -> ChairTask:
    """A whole run, as it is kept: every second caption is cut, and one comes from a server that does not say so."""
    chair = task(coco)
    kept = AnswerFile(folder, {**chair.identity(), "model": AWAY.model, "version": version("eah-vllm")})
    for number, question in enumerate(chair.questions()):
        kept.add(OFF.name, question.id, Answer(CUT, "length" if number % 2 else "stop" if number else None))
        kept.add(ON.name, question.id, Answer(CUT, "stop", None, None, {"applied": True, "reason": None, "layers": []}))
    kept.close()
    return chair


def test_a_run_that_is_there_is_counted_either_way_and_says_which(coco: Path, tmp_path: Path) -> None:
    answered(coco, tmp_path)
    words = {}
    for drop, name in ((False, "counted"), (True, "dropped"), (False, "counted")):
        run(AWAY, task(coco, drop_unfinished=drop), [OFF, ON], tmp_path, with_controls=False)
        off, on = json.loads((tmp_path / "summary.json").read_text())
        assert off["protocol"] == {"max_tokens": 512, "unfinished_sentence": name, "cut": 10, "finish_unknown": 1}
        assert on["protocol"] == {"max_tokens": 512, "unfinished_sentence": name, "cut": 0, "finish_unknown": 0}
        words[name] = off["words"]
        page = (tmp_path / "report.html").read_text()
        assert f"unfinished sentence {name}" in page
        # Where captions are cut to equal length, that of the sentence which is not counted must not be counted either.
        assert off["length_matched"]["words"] == off["words"]
        assert on["length_matched"]["words"] == off["words"]
    assert words == {"counted": 7.0, "dropped": 5.5}


def test_what_is_dropped_stands_in_no_example(coco: Path) -> None:
    chair = task(coco, drop_unfinished=True)
    before = {question.id: Answer(CUT, "length") for question in chair.questions()}
    for example in draw_examples(chair, before, before).shown:
        assert "".join(text for text, _ in example.said[0].after) == 'Two mice. A "mouse!"'


def test_a_part_of_the_task_reads_captions_alike(coco: Path) -> None:
    chair = task(coco, drop_unfinished=True)
    question = chair.questions()[0]
    part = Subset(chair, [question.unit])
    answers = {other.id: Answer(CUT, "length") for other in chair.questions()}
    assert part.captions(answers) == {question.unit: 'Two mice. A "mouse!"'}
    assert part.protocol() == chair.protocol()


def test_the_command_has_the_option(coco: Path) -> None:
    parser = argparse.ArgumentParser()
    add_tasks(parser)
    folders = ["--images", str(coco / "images"), "--annotations", str(coco / "annotations")]
    arguments = ["chair", *folders, "--words", str(coco / "synonyms.txt"), "--n", "5", "--max-tokens", "64"]
    for more, name in (([], "counted"), (["--drop-unfinished"], "dropped")):
        args = parser.parse_args([*arguments, *more])
        assert args.make_task(args).protocol() == {"max_tokens": 64, "unfinished_sentence": name}
