"""`eah-vllm sweep` over stored answers: a question that the rule should not ask has none, and would raise."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from eah_vllm.evaluation.ask.asking import AskError
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import SettingError, make_setting
from eah_vllm.evaluation.count.statistics import Interval
from eah_vllm.evaluation.sweep import command
from eah_vllm.evaluation.sweep.cells import Measured, Place, choose, drop_hopeless, grid
from eah_vllm.evaluation.sweep.command import run_sweep
from eah_vllm.evaluation.task import Answer, TaskError
from eah_vllm.evaluation.tasks.subset import Subset, deal
from eah_vllm.options import EngineDefaults
from tests.unit.evaluation_case import AWAY, RIGHT, SILENT, WRONG, WordTask, answer_file, saying, store

OFF = make_setting(None)
GOOD, IDLE, BAD, MUTE = (parse_setting(f"layer={layer},relative_threshold=1.5") for layer in range(4))


def test_a_fixed_head_has_one_cell_per_layer() -> None:
    places = grid([0, 2], [1.5], [0.002], ["auto", 3])
    assert [(place.row, place.column) for place in places] == [
        (0, "1.5/S"), (0, "0.002"), (0, "head 3"), (2, "1.5/S"), (2, "0.002"), (2, "head 3"),
    ]  # fmt: skip
    assert places[2].setting == parse_setting("layer=0,head=3")


@pytest.mark.parametrize(
    ("relative", "absolute", "heads", "told"),
    [([-1.0], [], ["auto"], "relative_threshold"), ([], [2.0], ["auto"], "threshold"), ([], [], ["auto"], "empty"),
     ([1.0], [], ["best"], "head")],
)  # fmt: skip
def test_a_grid_that_cannot_be(relative: list[float], absolute: list[float], heads: list[str | int], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        grid([0], relative, absolute, heads)


def test_halves() -> None:
    task = WordTask(31)
    choosing, reporting = deal(task, 0)
    assert (len(choosing), len(reporting)) == (16, 15)
    assert {*choosing, *reporting} == {f"u{i}" for i in range(31)}
    assert deal(task, 0) == (choosing, reporting)
    assert deal(task, 1)[0] != choosing


def test_a_subset_counts_its_own_pictures_only() -> None:
    task = WordTask(4)
    part = Subset(task, ["u1", "u3"])
    assert [q.id for q in part.questions() if q.group == "caption"] == ["u1/caption", "u3/caption"]
    everything = {q.id: Answer("Yes") for q in task.questions()}
    assert part.tallies(everything)["caption"].units == ("u1", "u3")
    assert part.tallies(everything)["random"].units == ("u1", "u3")
    assert task.tallies(everything)["caption"].units == ("u0", "u1", "u2", "u3")


def cell(
    main: tuple[float, float, float], recall: tuple[float, float, float] = (0, 0, 0), changed: int = 5
) -> Measured:
    return Measured(Place(OFF, 0, ""), 10, Interval(*main), Interval(*recall), changed)


def test_hopeless_cells() -> None:
    cells = [
        cell((-10, -20, -5)),
        cell((-4, -6, 3)),  # may be better than the best
        cell((0, -4, 4)),  # cannot: -4 is more than -5
        cell((-30, -40, -20), recall=(-9, -12, -5)),  # loses recall, so it is no measure for others
        cell((-30, -40, -4), recall=(-2, -5, 1)),  # may lose none
        cell((-1, -2, 0), changed=0),
    ]
    drop_hopeless(cells, 1, max_recall_loss=1.0)
    assert [one.dropped for one in cells] == [
        None, None, "worse than the best", "loses recall", None, "changes no answer",
    ]  # fmt: skip
    assert choose(cells, 1, 1.0) is cells[0], "the one with -30 has lost 2 points of recall as measured"
    assert choose(cells, 1, 2.0) is cells[4]
    assert choose(cells[1:2], 1, 1.0) is cells[1]
    assert choose([cell((1, -2, 3))], 1, 1.0) is None, "no better than off"


def test_of_f1_more_is_better() -> None:
    cells = [cell((10, 5, 20)), cell((-1, -4, 4)), cell((8, 1, 15))]
    drop_hopeless(cells, -1, max_recall_loss=1.0)
    assert [one.dropped for one in cells] == [None, "worse than the best", None]
    assert choose(cells, -1, 1.0) is cells[0]


def stored_sweep(folder: Path, task: WordTask, mends: bool = True, holds: bool = True) -> None:
    """Answers to what a sweep over four cells should ask, and no others.

    Off hallucinates of every second picture. GOOD mends all of these (`holds`: on the reporting half too), IDLE says
    what off says, BAD hallucinates of all, MUTE names nothing but the cat.
    """
    choosing, reporting = deal(task, 0)
    first_part = choosing[: len(choosing) // 4]
    answers = answer_file(folder, task, model="nobody", version=version("eah-vllm"), sweep={"deal": 0})
    off = saying(lambda number: WRONG if number % 2 else RIGHT)
    good = saying(lambda _: RIGHT) if mends else saying(lambda _: WRONG)
    store(answers, task, OFF, off)
    store(answers, task, GOOD, good, choosing)
    store(answers, task, GOOD, good if holds else off, reporting)
    store(answers, task, IDLE, off, first_part)
    store(answers, task, BAD, saying(lambda _: WRONG), first_part)
    store(answers, task, MUTE, saying(lambda _: SILENT), first_part)
    for head in ("random", "sparsest"):
        store(answers, task, GOOD.control(head), off, reporting)
    answers.close()


PLACES = grid(range(4), [1.5], [], ["auto"])


def test_chooses_on_one_half_and_reports_on_the_other(tmp_path: Path) -> None:
    task = WordTask(80)
    stored_sweep(tmp_path, task)
    before = (tmp_path / "answers.jsonl").read_bytes()
    found = run_sweep(AWAY, task, PLACES, tmp_path)

    assert found.chosen == GOOD
    assert found.helps
    data = json.loads((tmp_path / "sweep.json").read_text())
    by_setting = {one["setting"]: one for one in data["cells"]}
    assert by_setting[IDLE.name]["dropped"] == "changes no answer"
    assert by_setting[BAD.name]["dropped"] == "worse than the best"
    assert by_setting[MUTE.name]["dropped"] == "loses recall"
    assert [one["units"] for one in data["cells"]] == [40, 10, 10, 10]
    assert data["chosen"] == GOOD.name

    rows = json.loads((tmp_path / "summary.json").read_text())
    reporting = deal(task, 0)[1]
    odd = sum(int(unit[1:]) % 2 for unit in reporting)
    assert [row["setting"] for row in rows][:2] == ["off", GOOD.name]
    assert rows[0]["n"] == 40
    assert rows[0]["chairs"] == pytest.approx(100 * odd / 40)
    assert rows[1]["difference"]["chairs"]["value"] == pytest.approx(-100 * odd / 40)

    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    defaults = EngineDefaults(**config["additional-config"]["eah"]).options()
    assert defaults.model_dump(exclude_none=True) == {"layer": 0, "relative_threshold": 1.5}
    assert found.told in (tmp_path / "report.html").read_text()

    again = run_sweep(AWAY, task, PLACES, tmp_path)
    assert again.data == found.data
    assert (tmp_path / "answers.jsonl").read_bytes() == before, "nothing is asked twice"


def test_fixed_heads_of_the_chosen_layer_are_asked_for_captions(tmp_path: Path) -> None:
    """The server, which is away here, said in a run before how many heads there are."""
    task = WordTask(80)
    stored_sweep(tmp_path, task)
    (tmp_path / "server.json").write_text(json.dumps({"num_heads": 2}))
    with pytest.raises(AskError, match="stays away"):
        run_sweep(AWAY, task, PLACES, tmp_path)
    answers = answer_file(tmp_path, task, model="nobody", version=version("eah-vllm"), sweep={"deal": 0})
    heads = [GOOD.control(head) for head in range(2)]
    for question in task.questions():
        for head in heads if question.group == "caption" else ():
            answers.add(head.name, question.id, Answer(WRONG))
    answers.close()
    found = run_sweep(AWAY, task, PLACES, tmp_path)
    rows = {row["setting"]: row for row in json.loads((tmp_path / "summary.json").read_text())}
    assert [head.name for head in heads] == ["head=0,layer=0", "head=1,layer=0"]
    assert [(rows[head.name]["chairs"], rows[head.name]["n"]) for head in heads] == [(100.0, 40)] * 2
    assert "With one fixed head for all pictures, 100.0 to 100.0: 0 of 2 heads do as well." in found.told


def test_a_random_cell_is_measured_over_its_draws(tmp_path: Path) -> None:
    task = WordTask(80)
    stored_sweep(tmp_path, task)
    answers = answer_file(tmp_path, task, model="nobody", version=version("eah-vllm"), sweep={"deal": 0})
    (place,) = grid([4], [1.5], [], ["random"])
    store(answers, task, place.setting, saying(lambda _: WRONG), deal(task, 0)[0])
    answers.close()
    found = run_sweep(AWAY, task, [*PLACES, place], tmp_path)
    assert found.data["cells"][-1]["dropped"] == "worse than the best"


def test_a_choice_that_does_not_hold_is_commented_out(tmp_path: Path) -> None:
    task = WordTask(80)
    stored_sweep(tmp_path, task, holds=False)
    found = run_sweep(AWAY, task, PLACES, tmp_path)
    assert found.chosen == GOOD
    assert not found.helps
    assert "no difference seen" in found.told
    text = (tmp_path / "config.yaml").read_text()
    assert yaml.safe_load(text) is None
    assert "Not recommended" in text


def test_no_cell_helps_and_no_configuration_is_written(tmp_path: Path) -> None:
    task = WordTask(80)
    stored_sweep(tmp_path, task, mends=False)
    (tmp_path / "config.yaml").write_text("of a run before")
    found = run_sweep(AWAY, task, PLACES, tmp_path)
    assert found.chosen is None
    assert found.told.startswith("No cell of 4 helps")
    assert not (tmp_path / "config.yaml").exists()
    assert "No cell of 4 helps" in (tmp_path / "report.html").read_text()


def test_an_open_question_is_asked(tmp_path: Path) -> None:
    """So that the sweeps above, which ask nothing, mean something."""
    task = WordTask(80)
    stored_sweep(tmp_path, task)
    with pytest.raises(AskError, match="stays away"):
        run_sweep(AWAY, task, [*PLACES, *grid([4], [1.5], [], ["auto"])], tmp_path)


def test_yes_no_questions_alone(tmp_path: Path) -> None:
    task = WordTask(80, captions=False)
    choosing, _ = deal(task, 0)
    answers = answer_file(tmp_path, task, model="nobody", version=version("eah-vllm"), sweep={"deal": 0})
    off = saying(lambda _: "", lambda number: number % 2 == 1)
    for setting in (OFF, *(GOOD.control(head) for head in ("random", "sparsest"))):
        store(answers, task, setting, off)
    store(answers, task, GOOD, saying(lambda _: ""))
    store(answers, task, BAD, saying(lambda _: "", lambda _: True), choosing)
    answers.close()
    found = run_sweep(AWAY, task, [PLACES[0], PLACES[2]], tmp_path)
    assert found.chosen == GOOD
    assert found.data["metric"] == "f1"
    assert found.helps


def test_too_few_pictures(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="at least 20"):
        run_sweep(AWAY, WordTask(10), PLACES, tmp_path)


@pytest.mark.parametrize(("text", "layers"), [("0-2,5", [0, 1, 2, 5]), ("3", [3])])
def test_layers_on_the_command_line(text: str, layers: list[int]) -> None:
    assert command._indices(text) == layers


@pytest.mark.parametrize("text", ["4-2", "a", "1,,2", "-1"])
def test_layers_that_cannot_be_read(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["scenes", "--base-url", "x", "--model", "m", "--out", str(tmp_path), f"--layers={text}"])
    assert "neither a layer nor a range" in capsys.readouterr().err
