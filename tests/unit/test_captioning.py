"""Which pictures `eah-vllm caption` finds, how it reads them, and its file of captions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from eah_vllm.captioning.captions import CaptionFile, bad_line, made_line, summary
from eah_vllm.captioning.command import main
from eah_vllm.captioning.pictures import PictureError, find_pictures, read_picture
from eah_vllm.evaluation.ask.answers import RunError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name in ("b.png", "a.JPG", "inside/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["."], ["a.JPG", "b.png", "inside/c.webp"]),
        (["inside", "b.png"], ["inside/c.webp", "b.png"]),
        (["*.png", "b.png", "./b.png"], ["b.png"]),
        (["**/*.webp"], ["inside/c.webp"]),
        (["notes.txt", "away.png", "*.gif"], ["notes.txt", "away.png", "*.gif"]),
        (["-", "a.JPG"], ["inside/c.webp", "b.png", "a.JPG"]),
    ],
)
def test_files_folders_patterns_and_lists(words: list[str], found: list[str], folder: Path) -> None:
    assert find_pictures(words, iter(["inside\n", "\n", "b.png\n"])) == found


def test_a_name_with_the_signs_of_a_pattern_is_a_name(folder: Path) -> None:
    (folder / "b[1].png").write_bytes(b"-")
    assert find_pictures(["b[1].png"], iter(())) == ["b[1].png"]


def test_the_media_type_is_that_of_the_content(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format="JPEG")
    data, media_type = read_picture(str(tmp_path / "a.png"))
    assert (data, media_type) == ((tmp_path / "a.png").read_bytes(), "image/jpeg")


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("a cat")
    with pytest.raises(PictureError, match="it is not a picture"):
        read_picture(str(tmp_path / "a.png"))
    with pytest.raises(PictureError, match="No such file"):
        read_picture(str(tmp_path / "b.png"))


def reply(text: str, finish_reason: str = "stop", **more: Any) -> Any:
    choice = SimpleNamespace(message=SimpleNamespace(content=text), finish_reason=finish_reason)
    return SimpleNamespace(choices=[choice], model_extra=more)


MENTIONS = [
    {"text": "cat", "start": 2, "end": 5, "object": "cat", "p_yes": 0.9, "verdict": "confirmed"},
    {"text": "dog", "start": 12, "end": 15, "object": "dog", "p_yes": 0.1, "verdict": "denied"},
]
CHECKED = {"mentions": MENTIONS, "denied": ["dog"], "original": "A cat and a dog.", "changed": True}


def test_a_line_has_the_verdicts_only_if_the_caption_was_checked() -> None:
    assert made_line("a", reply("A cat.")) == {"path": "a", "text": "A cat.", "finish_reason": "stop", "error": None}
    line = made_line("a", reply("A cat.", eah={"applied": True}, verify=CHECKED))
    assert line["eah"] == {"applied": True}
    assert line["verdicts"] == {"confirmed": 1, "denied": 1}
    assert (line["mentions"], line["denied"], line["original"]) == (MENTIONS, ["dog"], "A cat and a dog.")
    assert line["unchecked"] is None
    failed = made_line("b", reply("A cat.", "length", verify={"error": "the engine is away"}))
    assert (failed["mentions"], failed["verdicts"], failed["unchecked"]) == ([], {}, "the engine is away")
    assert summary([line, failed, bad_line("c", "it is not a picture")]) == {
        "captions": 2, "skipped": 1, "cut": 1, "changed": 1, "denied": 1, "unchecked": 1,
    }  # fmt: skip


RUN = {"model": "scenes", "setting": "off"}


def test_a_torn_last_line_is_cut_off_and_other_lines_stay(tmp_path: Path) -> None:
    captions = CaptionFile(tmp_path / "to" / "captions.jsonl", RUN)
    captions.add(made_line("a", reply("A cat \u2028 and\na dog.")))
    captions.add(bad_line("b", "it is not a picture"))
    captions.close()
    before = captions.path.read_bytes()
    with captions.path.open("ab") as file:
        file.write(b'{"path": "c", "te')
    again = CaptionFile(captions.path, RUN)
    assert (captions.path.read_bytes(), again.lines) == (before, captions.lines)
    again.forget_errors()
    again.add(made_line("b", reply("A dog.")))
    again.close()
    kept = [json.loads(line) for line in captions.path.read_bytes().split(b"\n")[:-1]]
    assert [(line["path"], line["error"]) for line in kept] == [("a", None), ("b", None)]


def test_captions_of_another_run_or_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    CaptionFile(path, RUN).close()
    with pytest.raises(RunError, match="setting: 'off' there, 'verify' now"):
        CaptionFile(path, RUN | {"setting": "verify"})
    path.write_bytes(b'{"text": "no path"}\n{"path": "a"}\n')
    with pytest.raises(RunError, match="line 1 is not a caption"):
        CaptionFile(path, RUN)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--verify", "action"], "'action' is not an option of verify"),
        (["--eah", "layers=1"], "unknown option"),
        (["--concurrency", "0"], "must be 1 or more, got 0 and 256"),
    ],
)
def test_a_wrong_command_line_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["a.png", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--out", "x.jsonl", *words])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
