"""Settings of `eah-vllm eval` as they are written on the command line, and the answers file of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eah_vllm.evaluation.ask.answers import AnswerFile, RunError
from eah_vllm.evaluation.ask.controls import controls, fixed_heads
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import Setting, SettingError, make_setting
from eah_vllm.evaluation.task import Answer


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("off", {}),
        ("on", {"eah": {"report": True}}),
        ("layer=1,threshold=0.002", {"eah": {"layer": 1, "threshold": 0.002, "report": True}}),
        ("layer=0+2, head=3", {"eah": {"layer": [0, 2], "head": 3, "report": True}}),
        ("head=random", {"eah": {"head": "random", "report": True}}),
        ("model=llava:eah", {}),
        ("off,end_bias=1.5", {"logit_bias": {"2": 1.5}}),
        ("verify", {"verify": True}),
        ("off, verify", {"verify": True}),
        ("verify,action=rewrite,threshold=0.3", {"verify": {"action": "rewrite", "threshold": 0.3}}),
        ("on,verify,action=rewrite", {"eah": {"report": True}, "verify": {"action": "rewrite"}}),
        (
            "layer=2,threshold=0.1,verify,threshold=0.3,n=4",
            {"eah": {"layer": 2, "threshold": 0.1, "report": True}, "verify": {"threshold": 0.3, "n": 4}},
        ),
        ("verify,yes=Yes+Oui,objects=cat", {"verify": {"yes": ["Yes", "Oui"], "objects": ["cat"]}}),
        ("verify,end_bias=1,max_mentions=9,model=x", {"verify": {"max_mentions": 9}, "logit_bias": {"2": 1.0}}),
        ("on,end_bias=-1", {"eah": {"report": True}, "logit_bias": {"2": -1.0}}),
    ],
)
def test_a_setting_becomes_the_body_of_a_request(text: str, body: dict[str, object]) -> None:
    setting = parse_setting(text)
    assert setting.extra_body(end_token_id=2) == body
    assert parse_setting(setting.name) == setting, "its name is another spelling of it"


def test_two_spellings_of_one_setting_are_one() -> None:
    assert parse_setting("threshold=0.0020,layer=1") == parse_setting(" layer=1 , threshold=2e-3")
    verified = parse_setting("model=x,verify,threshold=0.50,action=rewrite")
    assert verified == parse_setting(" verify , action=rewrite , threshold=.5, model=x")
    assert verified.name == "verify,action=rewrite,threshold=0.5,model=x"


def test_an_option_of_verify_may_stand_in_a_file(tmp_path: Path) -> None:
    objects, question = tmp_path / "objects.json", tmp_path / "question.txt"
    objects.write_text('{"cat": ["kitten", "tabby"]}')
    question.write_text("Is there a {object}, yes or no?\n")
    setting = parse_setting(f"verify,objects=@{objects},question=@{question}")
    asked = {"objects": {"cat": ["kitten", "tabby"]}, "question": "Is there a {object}, yes or no?"}
    assert setting.extra_body(None) == {"verify": asked}
    assert setting.name == f"verify,objects=@{objects},question=@{question}", "the file's name stands for its content"


def test_a_verified_setting_has_no_controls_of_the_head_and_its_own_draws_of_what_is_removed() -> None:
    setting = parse_setting("on,verify,action=rewrite")
    assert controls([setting]) == fixed_heads([setting], 2) == []
    drawn = setting.removing().asked
    assert [one.name for one in drawn] == [f"on,verify,action=rewrite,removal={draw}" for draw in range(5)]
    assert drawn[3].removing() == setting.removing()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "say on, off"),
        ("onn", "neither on, off, verify nor"),
        ("layer=", "neither on, off, verify nor"),
        ("verify,on", "'on' is not an option of verify of the form NAME=VALUE"),
        ("verify,action=", "'action=' is not an option of verify"),
        ("verify,objects=@no/such.json", "no/such.json"),
        ("layers=1", "unknown option"),
        ("threshold=2", "less than 1"),
        ("layer=x", "layer"),
        ("threshold=0.1,relative_threshold=2", "exclude each other"),
        ("off,layer=1", "EAH is off, and has options"),
        ("off,end_bias=much", "could not convert"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        parse_setting(text)


def test_a_bias_without_a_token_to_put_it_on_is_refused() -> None:
    with pytest.raises(SettingError, match="--end-token-id"):
        parse_setting("off,end_bias=1").extra_body(None)


def test_every_setting_that_chooses_a_head_has_both_controls_and_no_other_has() -> None:
    settings = [parse_setting(text) for text in ("off", "layer=2", "layer=2,head=random", "head=1", "model=x")]
    assert [control.name for control in controls(settings)] == ["head=sparsest,layer=2"]


def test_a_random_head_is_asked_five_times_unless_a_draw_is_named() -> None:
    asked = parse_setting("head=random,layer=2").asked
    assert [one.name for one in asked] == [f"head=random,layer=2,seed={seed}" for seed in range(5)]
    assert asked[3].extra_body(None) == {"eah": {"layer": 2, "head": "random", "seed": 3, "report": True}}
    for text in ("off", "on", "head=3", "head=random,seed=7", "head=sparsest"):
        setting = parse_setting(text)
        assert setting.asked == (setting,)


def test_every_fixed_head_once_for_each_layer_that_chooses_one() -> None:
    settings = [parse_setting(text) for text in ("off", "on", "layer=2,threshold=0.1", "layer=2,threshold=0.2")]
    assert [one.name for one in fixed_heads(settings, 2)] == ["head=0", "head=1", "head=0,layer=2", "head=1,layer=2"]
    settings = [parse_setting(text) for text in ("off", "on", "head=1", "head=random")]
    assert [one.name for one in fixed_heads(settings, 2)] == ["head=0"]


RUN = {"task": "scenes", "n": 3}
OFF: Setting = make_setting(None)


def test_answers_are_found_again_and_half_a_line_is_asked_again(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path, RUN)
    answers.add("off", "a", Answer("A cat.\nAnd a dog \u2028 \u00e9.", "stop", 5, 0.1, None))
    answers.add("on", "a", Answer("A cat.", "stop", 5, 0.1, {"applied": True, "reason": None}))
    answers.close()
    with answers.path.open("ab") as file:
        file.write(b'{"setting": "off", "question": "b", "te')  # killed while it wrote

    again = AnswerFile(tmp_path, RUN)
    assert again.by_setting == answers.by_setting
    again.add("off", "b", Answer("Two."))
    again.close()
    lines = [json.loads(line) for line in answers.path.read_bytes().split(b"\n")[:-1]]
    assert [(line["setting"], line["question"]) for line in lines] == [("off", "a"), ("on", "a"), ("off", "b")]


def test_another_run_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path, RUN)
    answers.add("off", "a", Answer("A cat."))
    answers.close()
    with pytest.raises(RunError, match="n: 3 there, 4 now"):
        AnswerFile(tmp_path, RUN | {"n": 4})
    answers.path.write_bytes(b'{"setting": "off"}\n' + answers.path.read_bytes())
    with pytest.raises(RunError, match="line 1 is not an answer"):
        AnswerFile(tmp_path, RUN)
