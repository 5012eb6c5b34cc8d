"""Settings with other methods than EAH: how they are written, their random twins, the curve, the tables, the cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from eah_vllm.evaluation.ask import controls
from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.controls import curve_of, curve_settings, twins
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import Setting, SettingError, make_setting
from eah_vllm.evaluation.command import run
from eah_vllm.evaluation.count.summary import summarize
from eah_vllm.evaluation.report.markdown import write_table
from eah_vllm.evaluation.report.spoken import spoken
from eah_vllm.evaluation.report.tables import kind
from eah_vllm.evaluation.sweep.cells import grid_of
from eah_vllm.evaluation.sweep.command import run_sweep
from eah_vllm.evaluation.task import Answer
from eah_vllm.evaluation.tasks.subset import deal
from eah_vllm.method.registry import METHODS
from tests.methods.scaled_head import ScaledHead, ScaledHeadOptions
from tests.unit.evaluation_case import AWAY, RIGHT, SILENT, WRONG, WordTask, answer_file, saying, store

OFF = make_setting(None)


class Options(ScaledHeadOptions):
    heads: list[int] | Literal["auto", "random"] | None = Field(None, description="the heads")
    layers: list[int] | None = Field(None, description="the layers")
    seed: int | None = Field(None, ge=0)


class Drawn(ScaledHead):
    """A method with a random twin."""

    name: ClassVar[str] = "drawn"
    Options: ClassVar[type[Options]] = Options  # type: ignore[assignment]
    random_twin: ClassVar[Mapping[str, Any] | None] = {"heads": "random"}


@pytest.fixture(autouse=True)
def _methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "drawn", Drawn())
    monkeypatch.setitem(METHODS, "scaled", ScaledHead())  # it has no random twin


@pytest.mark.parametrize(
    ("text", "name", "body"),
    [
        ("drawn", "drawn", {"drawn": {"report": True}}),
        ("off, drawn", "drawn", {"drawn": {"report": True}}),
        ("drawn,layers=3", "drawn,layers=3", {"drawn": {"layers": [3], "report": True}}),
        (
            "drawn,layers=1+3,factor=1.50",
            "drawn,factor=1.5,layers=1+3",
            {"drawn": {"factor": 1.5, "layers": [1, 3], "report": True}},
        ),
        ("drawn,layer=1,factor=2.0", "drawn,factor=2,layer=1", {"drawn": {"factor": 2, "layer": 1, "report": True}}),
        (
            "scaled,factor=0.5,on,drawn,heads=random",
            "on,drawn,heads=random,scaled,factor=0.5",
            {"eah": {"report": True}, "drawn": {"heads": "random", "report": True},
             "scaled": {"factor": 0.5, "report": True}},
        ),
        (
            "eah,layer=2,threshold=0.1,drawn,factor=2,verify,action=rewrite,end_bias=1",
            "layer=2,threshold=0.1,drawn,factor=2,verify,action=rewrite,end_bias=1",
            {"eah": {"layer": 2, "threshold": 0.1, "report": True}, "drawn": {"factor": 2, "report": True},
             "verify": {"action": "rewrite"}, "logit_bias": {"2": 1.0}},
        ),
        ("drawn,model=x", "drawn,model=x", {"drawn": {"report": True}}),
    ],
)  # fmt: skip
def test_a_method_is_a_field_of_the_request(text: str, name: str, body: dict[str, Any]) -> None:
    setting = parse_setting(text)
    assert setting.name == name
    assert setting.extra_body(end_token_id=2) == body
    assert parse_setting(name) == setting, "its name is another spelling of it"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("drown", "neither on, off, verify nor eah, vhr, clva, drawn, scaled nor NAME=VALUE"),
        ("inspect", "neither on, off, verify nor eah, vhr"),
        ("drawn,factors=2", "drawn.factors: unknown option; known are"),
        ("drawn,layers=1+x", "drawn.layers"),
        ("drawn,seed=-1", "drawn.seed"),
        ("drawn,factor=", "is neither on, off"),
    ],
)
def test_an_unknown_method_or_option_is_refused(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        parse_setting(text)


def test_a_method_declares_its_random_twin_which_is_drawn_five_times() -> None:
    setting = parse_setting("drawn,factor=2")
    assert setting.asked == (setting,)
    twin = setting.twin
    assert twin is not None
    assert twin.name == "drawn,factor=2,heads=random"
    drawn = [one.extra_body(None)["drawn"] for one in twin.asked]
    assert drawn == [{"factor": 2, "heads": "random", "seed": seed, "report": True} for seed in range(5)]
    assert twin.twin is None
    named = parse_setting("drawn,heads=random,seed=7")
    assert (named.asked, named.twin) == ((named,), None)
    for text in ("scaled", "drawn,verify", "off", "head=3"):
        assert parse_setting(text).twin is None
    both = parse_setting("on,drawn").twin
    assert both is not None
    assert (both.name, both.asked[2].name) == (
        "head=random,drawn,heads=random", "head=random,seed=2,drawn,heads=random,seed=2",
    )  # fmt: skip
    assert twins([OFF, setting, parse_setting("on"), parse_setting("scaled")]) == [twin]
    assert twins([setting, twin]) == []


def test_the_curve_is_whole_or_there_is_none() -> None:
    curve = curve_settings()
    others = [parse_setting(text) for text in ("drawn,end_bias=1", "on", "model=x")]
    assert [one.end_bias for one in curve_of([*others, *curve[::-1], OFF])] == [0, 0.5, 1, 2, 3, 4, 6, 8]
    assert curve_of([OFF, *curve[1:]]) == curve_of(curve) == []


@pytest.mark.parametrize(
    ("text", "told", "kind_of_it"),
    [
        ("drawn,layers=1+3,factor=2", "DRAWN: layers 1, 3, factor 2", "eah"),
        ("on,drawn", "EAH; DRAWN", "eah"),
        ("drawn,heads=random", "DRAWN: heads random; 5 draws", "control"),
        ("drawn,verify", "DRAWN; checked", "verify"),
    ],
)
def test_in_words(text: str, told: str, kind_of_it: str) -> None:
    assert (spoken(parse_setting(text)), kind(parse_setting(text))) == (told, kind_of_it)


METHOD = make_setting(None, methods={"drawn": {"factor": 2}})
REPORT = {"applied": True, "reason": None, "layers": [{"layer": 3, "heads": [0, 2]}, {"layer": 4}]}
WITH_END = type(AWAY)(AWAY.base_url, AWAY.model, patience=0.0, timeout=1.0, end_token_id=2)


def kept(folder: Path, task: WordTask) -> AnswerFile:
    """Off names a car that is not there in every second caption, the method in every eighth, each draw in one more."""
    answers = AnswerFile(folder, {**task.identity(), "model": WITH_END.model, "version": version("eah-vllm")})
    store(answers, task, OFF, saying(lambda n: WRONG if n % 2 else RIGHT))
    twin = METHOD.twin
    assert twin is not None
    wrong = {METHOD: lambda n: n % 8 == 1} | {
        draw: (lambda n, d=d: n % 4 == 1 and n != 4 * d + 1) for d, draw in enumerate(twin.asked)
    }
    for setting, is_wrong in wrong.items():
        for question in task.questions():
            if question.group == "caption":
                text = WRONG if is_wrong(int(question.unit[1:])) else RIGHT
                answers.add(setting.name, question.id, Answer(text, "stop", 9, 0.1, None, None, {"drawn": REPORT}))
            elif setting == METHOD:
                answers.add(setting.name, question.id, Answer("Yes", "stop", 1, 0.1, None, None, {"drawn": REPORT}))
    for setting in curve_settings():
        store(answers, task, setting, saying(lambda _: SILENT))
    return answers


def test_a_run_compares_a_method_with_its_twin_and_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens, so that a question that should not be asked would be an error: a twin's yes/no questions are."""
    monkeypatch.setattr(controls, "BIASES", (1.0, 4.0))
    task = WordTask(40)
    kept(tmp_path, task).close()
    told = run(WITH_END, task, [OFF, METHOD], tmp_path, with_controls=True)
    rows = {row["setting"]: row for row in json.loads((tmp_path / "summary.json").read_text())}
    twin = "drawn,factor=2,heads=random"
    assert list(rows) == ["off", "drawn,factor=2", twin, *(one.name for one in curve_settings())]
    row = rows[METHOD.name]
    assert (row["chairs"], rows["off"]["chairs"], row["twin"], rows[twin]["twin"]) == (12.5, 50.0, twin, None)
    assert rows[twin]["chairs"] == pytest.approx(22.5)
    assert rows[twin]["draws"]["chairs"]["values"] == [22.5] * 5
    assert row["against"][twin]["chairs"]["value"] == pytest.approx(-10.0)
    # At the same recall, which is off's, the curve has off's CHAIRs; at the same CHAIRs it has lost recall.
    assert row["against_sooner"]["chairs_at_equal_recall"]["difference"] == pytest.approx(-37.5)
    assert row["against_sooner"]["recall_at_equal_chairs"]["difference"] == pytest.approx(37.5)
    assert row["applied"] == {"share": 1.0, "reasons": {}, "heads": {"3": {"0": 120, "2": 120}}}
    assert told.startswith("drawn,factor=2 changes CHAIRs by -37.5 points [")
    assert "its random twin (5 draws) changes it by -27.5 points [" in told
    assert "at the same recall it is -37.5 points [" in told
    assert "EAH" not in told, "the run has no setting with it"

    figures, differences = (part.splitlines() for part in (tmp_path / "table.md").read_text().split("\n\n"))
    assert figures[0] == "| setting | CHAIRs | CHAIRi | recall | words | mended / spoiled | yes/no accuracy |"
    assert figures[4].startswith(f"| {twin}, mean of 5 draws | 22.5 [")
    assert "; draws 22.5 to 22.5 |" in figures[4]
    assert differences[0] == (
        "| less off | CHAIRs | recall | yes/no accuracy | CHAIRs less its twin | CHAIRs at the curve's recall "
        "| recall at the curve's CHAIRs | CHAIRs, equal length |"
    )
    assert differences[2].startswith("| drawn,factor=2 | -37.5 [")
    assert {line.count("|") for line in differences} == {9}
    page = (tmp_path / "report.html").read_text()
    assert "DRAWN: factor 2, heads random; 5 draws" in page.replace("heads random, factor 2", "factor 2, heads random")

    cost = {
        "per_token": {"1": {"median": 1.25, "min": 1.2, "max": 1.3}, "16": {"median": 1.1, "min": 1.0, "max": 1.2}},
        "first_token_ms": {"1": {"median": 12.34, "min": 10.0, "max": 20.0}},
    }
    write_table(list(rows.values()), {"settings": {METHOD.name: cost}}, tmp_path)
    differences = (tmp_path / "table.md").read_text().split("\n\n")[1].splitlines()
    assert differences[0].endswith(
        "| time per token, 1 at a time | time per token, 16 at a time | first token, ms more |"
    )
    assert differences[2].endswith("| 1.25 (1.20 to 1.30) | 1.10 (1.00 to 1.20) | +12.3 (+10.0 to +20.0) |")
    assert differences[3].endswith("|  |  |  |")


def test_a_method_that_was_never_applied_is_said_so(tmp_path: Path) -> None:
    task = WordTask(20)
    answers = kept(tmp_path, task)
    for question in task.questions():
        report = {"applied": False, "reason": "no_image", "layers": []}
        answers.add("scaled", question.id, Answer(RIGHT, "stop", 9, 0.1, None, None, {"scaled": report}))
    answers.close()
    told = run(WITH_END, task, [OFF, parse_setting("scaled")], tmp_path, with_controls=False)
    assert told == "scaled was never applied: no_image."


def test_a_grid_of_any_method() -> None:
    places = grid_of("drawn,factor=2", {"layers": ["1", "1+3"], "head": ["0", "1"]})
    assert [(place.row, place.column) for place in places] == [
        ("layers 1", "head 0"), ("layers 1", "head 1"), ("layers 1+3", "head 0"), ("layers 1+3", "head 1"),
    ]  # fmt: skip
    assert places[2].setting == parse_setting("drawn,factor=2,layers=1+3,head=0")
    with pytest.raises(SettingError, match="the grid is empty"):
        grid_of("drawn", {})
    with pytest.raises(SettingError, match=r"drawn\.factor"):
        grid_of("drawn", {"factor": ["much"]})


def test_a_sweep_of_a_method_has_its_twin_for_a_control(tmp_path: Path) -> None:
    task = WordTask(80)
    choosing, reporting = deal(task, 0)
    answers = answer_file(tmp_path, task, model="nobody", version=version("eah-vllm"), sweep={"deal": 0})
    off = saying(lambda n: WRONG if n % 2 else RIGHT)
    places = grid_of("drawn", {"factor": ["2", "3"]})
    good, bad = (place.setting for place in places)
    store(answers, task, OFF, off)

    def say(setting: Setting, text: Any, units: list[str]) -> None:
        for question in task.questions():
            if question.unit in units and (question.group == "caption" or setting == good):
                said = text(int(question.unit[1:])) if question.group == "caption" else "No"
                answers.add(setting.name, question.id, Answer(said, methods={"drawn": REPORT}))

    say(good, lambda _: RIGHT, [*choosing, *reporting])
    say(bad, lambda _: WRONG, choosing[: len(choosing) // 4])
    assert good.twin is not None
    for draw in good.twin.asked:
        say(draw, lambda n: WRONG if n % 2 else RIGHT, list(reporting))
    answers.close()
    found = run_sweep(AWAY, task, places, tmp_path)
    assert found.chosen == good
    assert found.helps
    assert [row["setting"] for row in json.loads((tmp_path / "summary.json").read_text())] == [
        "off", "drawn,factor=2", "drawn,factor=2,heads=random",
    ]  # fmt: skip
    assert "its random twin (5 draws) changes it by +0.0 points" in found.told
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert (data["rows"], data["columns"]) == (["factor 2", "factor 3"], [""])
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["additional-config"] == {"eah": {"methods": ["eah", "drawn"]}, "drawn": {"factor": 2}}
    assert "Sweep over options" in (tmp_path / "report.html").read_text()


def test_rows_of_a_run_without_other_methods_have_no_comparison_with_a_curve(tmp_path: Path) -> None:
    task = WordTask(20)
    answers = answer_file(tmp_path, task)
    bias = make_setting(None, end_bias=1.0)
    for setting in (OFF, bias):
        store(answers, task, setting, saying(lambda _: RIGHT))
    assert all("against_sooner" not in row for row in summarize(task, [OFF, bias], answers))
