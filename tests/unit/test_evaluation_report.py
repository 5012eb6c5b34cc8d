"""`report.html`: what stands on the page, and that it needs nothing but itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import Setting, make_setting
from eah_vllm.evaluation.count.summary import summarize
from eah_vllm.evaluation.count.verdict import verdict
from eah_vllm.evaluation.report.examples import SHOWN, draw_examples
from eah_vllm.evaluation.report.page import write_report
from eah_vllm.evaluation.report.plots import Cell, heat_map, svg
from eah_vllm.evaluation.report.spoken import spoken
from eah_vllm.evaluation.report.tables import Figure, figure, heads_used, said
from eah_vllm.evaluation.task import Answer
from tests.unit.evaluation_case import AWAY, RIGHT, SILENT, WRONG, WordTask, answer_file, saying, store

OFF, ON = make_setting(None), parse_setting("layer=1,relative_threshold=1.5")
SETTINGS = [OFF, ON, ON.control("random"), ON.control("sparsest"), make_setting(None, end_bias=1.0)]
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A page's tags, checked to be balanced, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append((self.open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        return [text for within, text in self.texts if within == tag]


def report(
    folder: Path, task: WordTask, says: Sequence[Any], settings: Sequence[Setting] = SETTINGS, main: str = "chairs"
) -> tuple[str, Page, str]:
    """The page, parsed, and the sentence that it must begin with."""
    answers = answer_file(folder, task)
    for setting, say in zip(settings, says, strict=True):
        store(answers, task, setting, say)
    answers.close()
    rows = summarize(task, settings, answers)
    told = verdict(rows, settings, main)
    text = write_report(AWAY, task, settings, answers, rows, told, folder).read_text()
    return text, Page(text), told


HALF, NONE = saying(lambda number: WRONG if number % 2 else RIGHT), saying(lambda _: RIGHT)


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text, page, told = report(tmp_path, WordTask(20), [HALF, NONE, HALF, HALF, saying(lambda _: SILENT)])
    assert page.texts[1] == ("h1", told), "the verdict is the first sentence, after the title"
    names = [name for name, _ in page.tags]
    assert "script" not in names
    assert "link" not in names
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#"))
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == set(re.findall(r"url\((#[^)]*)\)", text))
    policy = [attributes["content"] for name, attributes in page.tags if name == "meta" and "content" in attributes]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policy


def test_differences_and_their_reading(tmp_path: Path) -> None:
    _, page, _ = report(tmp_path, WordTask(40), [HALF, NONE, HALF, HALF, saying(lambda _: SILENT)])
    small = page.of("small")
    assert any(text.startswith("\N{MINUS SIGN}50.0 [\N{MINUS SIGN}") for text in small)
    assert "no difference seen" in small
    assert "20 / 0" in page.of("td")
    assert "100.0 %" in page.of("td")
    better = [attributes for tag, attributes in page.tags if tag == "small" and attributes.get("class") == "better"]
    assert better


def test_a_random_head_is_a_mean_with_the_spread_of_its_draws(tmp_path: Path) -> None:
    task, random_head, fixed = WordTask(40), ON.control("random"), ON.control(6)
    answers = answer_file(tmp_path, task)
    for setting, say in ((OFF, HALF), (ON, NONE), (fixed, HALF)):
        store(answers, task, setting, say)
    for wrong, draw in zip((20, 10, 0, 8, 2), random_head.asked, strict=True):  # of the 20 that OFF has wrong
        store(answers, task, draw, saying(lambda n, wrong=wrong: WRONG if n % 2 and n < 2 * wrong else RIGHT))
    settings = [OFF, ON, random_head, fixed]
    rows = summarize(task, settings, answers)
    drawn = rows[2]
    assert drawn["setting"] == "head=random,layer=1,relative_threshold=1.5"
    assert (drawn["n"], drawn["chairs"], drawn["mended"], drawn["spoiled"]) == (40, 20.0, 12.0, 0.0)
    assert drawn["draws"]["number"] == 5
    assert drawn["draws"]["chairs"] == {
        "min": 0.0, "max": 50.0, "deviation": pytest.approx(19.685, abs=1e-3), "values": [50.0, 25.0, 0.0, 20.0, 5.0],
    }  # fmt: skip
    assert "draws" not in rows[1]
    assert rows[1]["against"]["head=random,layer=1,relative_threshold=1.5"]["chairs"]["value"] == -20.0

    told = verdict(rows, settings)
    assert "The chosen head less a random one: -20.0 points [" in told
    assert "With one fixed head for all pictures, 50.0 to 50.0: 0 of 1 heads do as well." in told
    page = Page(write_report(AWAY, task, settings, answers, rows, told, tmp_path).read_text())
    assert "mean of 5 draws: 0.0 to 50.0" in page.of("small")
    assert "0.00 to 50.00 (± 19.68)" in page.of("td")


def test_a_random_head_that_does_as_well_is_named_with_its_spread(tmp_path: Path) -> None:
    _, _, told = report(tmp_path, WordTask(20), [HALF, HALF, NONE, HALF, HALF])
    assert "head=random,layer=1,relative_threshold=1.5, 5 draws: mean 0.0, 0.0 to 0.0" in told


def test_heads_that_were_used_are_counted(tmp_path: Path) -> None:
    task = WordTask(3)
    answers = answer_file(tmp_path, task)
    store(answers, task, OFF, HALF)
    for number, question in enumerate(task.questions()):
        layer = {"layer": 1, "head": (7, 10, None)[number % 3], "sinks": 1, "image_tokens": 9, "density": 0.1}
        applied = {"applied": layer["head"] is not None, "reason": None, "layers": [layer]}
        answers.add(ON.name, question.id, Answer("a cat", eah=applied))
    rows = summarize(task, [OFF, ON], answers)
    assert rows[1]["applied"]["heads"] == {"1": {"7": 3, "10": 3}}
    assert heads_used(rows[1]) == "layer 1: 7 \N{MULTIPLICATION SIGN} 3, 10 \N{MULTIPLICATION SIGN} 3"


def test_ten_pictures_by_the_rule_with_hallucinations_marked(tmp_path: Path) -> None:
    mended_or_spoiled = saying(lambda number: WRONG if number in (1, 3, 0, 2) else RIGHT)  # 0 and 2 are spoiled
    _, page, _ = report(tmp_path, WordTask(40), [HALF, mended_or_spoiled, HALF, HALF, HALF])
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(set(pictures)) == 10
    kinds = [text.rpartition(" ")[2] for text in page.of("p") if re.match(r"u\d+ ", text)]
    assert {kind: kinds.count(kind) for kind in kinds} == {"mended": 5, "spoiled": 2, "neither": 3}
    assert set(page.of("mark")) == {"car"}
    assert len(page.of("mark")) >= 5 + 2
    assert any("18 are mended by B, 2 spoiled, 20 neither" in text for text in page.of("p"))


def test_examples_are_filled_up_and_never_picked() -> None:
    task = WordTask(12)
    answers: tuple[dict[str, Answer], dict[str, Answer]] = {}, {}
    for number in range(12):
        answers[0][f"u{number}/caption"] = Answer(WRONG if number == 7 else RIGHT)
        answers[1][f"u{number}/caption"] = Answer(RIGHT)
    drawn = draw_examples(task, *answers)
    assert drawn.counts == {"mended": 1, "spoiled": 0, "other": 11}
    assert [one.kind for one in drawn.shown] == ["mended"] + ["neither"] * 9
    assert drawn == draw_examples(task, *answers)
    assert sum(SHOWN.values()) == 10


def test_what_a_model_says_is_text_not_markup(tmp_path: Path) -> None:
    evil = saying(lambda _: "a cat <script>alert('dog')</script> & a car")
    text, page, _ = report(tmp_path, WordTask(20), [evil, evil], [OFF, ON])
    assert "<script" not in text
    assert any("<script>alert('" in data for _, data in page.texts)


def test_yes_no_questions_alone(tmp_path: Path) -> None:
    yes, no = saying(lambda _: "", lambda _: True), saying(lambda _: "")
    text, page, _ = report(tmp_path, WordTask(20, captions=False), [yes, no], [OFF, ON], main="f1")
    assert "CHAIRs" not in text
    assert {"Accuracy", "F1", "Says yes"} <= set(page.of("th"))
    assert any(data.startswith("Is there a car?") for data in page.of("p"))
    assert {"(wrong)", "(right)"} <= set(page.of("small"))
    assert (tmp_path / "tradeoff.png").exists()


def test_off_alone(tmp_path: Path) -> None:
    _, page, _ = report(tmp_path, WordTask(20), [HALF], [OFF])
    assert "Before and after" in page.of("h2")
    assert "Ten pictures" not in page.of("h2")


def test_a_setting_that_says_nothing_has_dashes_in_their_columns(tmp_path: Path) -> None:
    _, page, _ = report(tmp_path, WordTask(20), [HALF, saying(lambda _: "")], [OFF, ON])
    cells = [(attributes.get("data-label"), attributes.get("class")) for tag, attributes in page.tags if tag == "td"]
    labels = [label for label, _ in cells if label]
    assert labels[:7] == labels[7:14] == [
        "CHAIRs", "CHAIRs, equal length", "CHAIRi", "Recall", "Words", "Mended / spoiled", "Applied",
    ]  # fmt: skip
    assert "\N{EN DASH}" in page.of("td")
    assert "(nothing)" in page.of("em")


def test_sweep_and_mechanism_of_the_folder(tmp_path: Path) -> None:
    best = {"row": 0, "column": "0.1", "difference": {"value": -7.04}, "chosen": True, "dropped": None}
    worst = {"row": 1, "column": "0.1", "difference": {"value": 3.0}, "chosen": False, "dropped": "loses recall"}
    sweep = {"told": "Told of a sweep.", "metric": "chairs", "lower_is_better": True, "choosing": 9, "rule": "A rule.",
             "rows": [0, 1], "columns": ["0.1"], "cells": [best, worst]}  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    found = {"value": -0.3, "ci95": [-0.5, -0.1], "verdict": "less"}
    by_outcome = {"spearman": [found, None], "spearman_given_objects": [found, None], "point_biserial": [found, None]}
    correlation = {"densest head": by_outcome, "mean over heads": by_outcome}
    threshold = {"name": "1.5/S", "sinks": [[11.2, 3.0], [8.0, 0.0]], "correlation": correlation}
    mechanism = {"told": "Told of sinks.", "image_tokens": 16, "prompt_tokens": 30, "n": 20, "thresholds": [threshold]}
    (tmp_path / "mechanism.json").write_text(json.dumps(mechanism))
    _, page, _ = report(tmp_path, WordTask(20), [HALF, NONE], [OFF, ON])
    drawn = page.of("text")
    assert {"\N{MINUS SIGN}7.0", "+3.0", "11", "8"} <= set(drawn)
    assert {"Told of a sweep.", "Told of sinks."} <= set(page.of("p"))
    for name in ("tradeoff", "sweep", "sinks", "correlation"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 300


def test_plots_take_the_pages_colours() -> None:
    plot = heat_map("plot", 'told & "quoted"', [[Cell(-1.0, "-1"), None], [Cell(1.0, "1"), Cell(0, "0", True, True)]],
                    ["0", "1"], ["a", "b"], "row", "column")  # fmt: skip
    drawn = svg(plot)
    assert {f"var(--{role})" for role in ("ink", "muted", "rule", "better", "worse")} <= set(
        re.findall(r"var\(--\w+\)", drawn)
    )
    assert not re.findall(r"#[0-9a-f]{6}", drawn), "a fixed colour would vanish in the dark, or in the light"
    assert svg(plot) == drawn
    Page(drawn)


@pytest.mark.parametrize(
    ("difference", "read"),
    [
        ({"value": -2.0, "ci95": [-3.0, -1.0], "verdict": "lower, better"}, ("-2.0 [-3.0, -1.0]", "better")),
        ({"value": 2.0, "ci95": [1.0, 3.0], "verdict": "higher, worse"}, ("+2.0 [+1.0, +3.0]", "worse")),
        ({"value": 0.3, "ci95": [-1.0, 1.0], "verdict": "no difference seen"}, ("+0.3 [-1.0, +1.0]", "none")),
        ({"value": -0.04, "ci95": [-0.1, -0.01], "verdict": "lower"}, ("-0.04 [-0.10, -0.01]", "changed")),
        (None, ("", "")),
    ],
)
def test_a_difference_in_print(difference: dict[str, Any] | None, read: tuple[str, str]) -> None:
    assert said(difference) == tuple(part.replace("-", "\N{MINUS SIGN}") for part in read)


def test_no_figure_is_a_dash() -> None:
    assert figure({"f1": None, "ci95": {}, "difference": {}}, "f1", baseline=False) == Figure("\N{EN DASH}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("off", "off"),
        ("on", "EAH on"),
        ("layer=2,relative_threshold=1.50", "EAH: layer 2, threshold 1.5/S"),
        ("head=random,layer=0+2,threshold=0.002", "EAH: layers 0, 2, threshold 0.002, random head, 5 draws"),
        ("head=random,layer=1,seed=3", "EAH: layer 1, random head, draw 3"),
        ("head=3,layer=1", "EAH: layer 1, head 3"),
        ("model=m:eah", "model m:eah"),
        ("off,end_bias=1.5", "off, end of text +1.5"),
    ],
)
def test_settings_in_words(text: str, told: str) -> None:
    assert spoken(parse_setting(text)) == told
