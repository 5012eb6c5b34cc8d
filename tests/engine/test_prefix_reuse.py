"""`prefix_reuse`: a second question about an image reads the cache, with the source head of the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import random_image
from tests.engine.asks import EAH, OTHER_EAH
from tests.engine.driver import Answer, Ask, Engine, Spare

IMAGE = random_image(7)
QUESTIONS = [
    "Is there a dog in the image?",
    "What is on the left?",
    "How many cups are on the table, and where is the cat?",
]
BLOCK = 32


def prompt(question: str) -> str:
    return f"USER: <image>\n{question} ASSISTANT:"


@pytest.fixture(scope="module")
def engine(mha_checkpoint: Path, spare: Spare) -> Engine:
    return spare.serving(mha_checkpoint, additional_config={"eah": {"prefix_reuse": True}})


@pytest.fixture(scope="module")
def cold_engine(mha_checkpoint: Path) -> Iterator[Engine]:
    with Engine(mha_checkpoint, enable_prefix_caching=False) as engine:
        yield engine


def reported(engine: Engine, question: str, eah: dict[str, object], tag: str) -> tuple[Answer, dict[str, object]]:
    answer = engine.one(prompt(question), [IMAGE], eah | {"report": 1, "tag": tag})
    return answer, engine.collect(tag)["reports"][tag]


def assert_same(got: Answer, expected: Answer) -> None:
    assert got.tokens == expected.tokens
    assert got.first_logprobs == pytest.approx(expected.first_logprobs, abs=1e-3)


@pytest.mark.parametrize("layer", [0, 1, [0, 2]])
def test_a_second_question_reads_the_image_from_the_cache(engine: Engine, cold_engine: Engine, layer: object) -> None:
    eah = EAH | {"layer": layer}
    first, report = reported(engine, QUESTIONS[0], eah, "first")
    assert first.cached_tokens == 0
    heads = [entry["head"] for entry in report["layers"]]  # type: ignore[attr-defined]
    for question in QUESTIONS[1:]:
        second, again = reported(engine, question, eah, "second")
        assert second.cached_tokens >= 2 * BLOCK, "the image was computed again"
        assert again["applied"]
        assert [entry["head"] for entry in again["layers"]] == heads  # type: ignore[attr-defined]
        assert all(entry["reused"] for entry in again["layers"])  # type: ignore[attr-defined]
        plain = cold_engine.one(prompt(question), [IMAGE])
        assert second.first_logprobs != pytest.approx(plain.first_logprobs, abs=1e-2), "EAH had no effect here"
        if len(heads) == 1:
            assert_same(second, cold_engine.one(prompt(question), [IMAGE], eah | {"head": heads[0]}))


def test_nothing_else_reads_these_blocks(engine: Engine, cold_engine: Engine) -> None:
    image = random_image(8)
    on = engine.one(prompt(QUESTIONS[0]), [image], EAH)
    plain = engine.one(prompt(QUESTIONS[0]), [image])
    other = engine.one(prompt(QUESTIONS[0]), [image], OTHER_EAH)
    elsewhere = engine.one(prompt(QUESTIONS[0]), [random_image(9)], EAH)
    assert [answer.cached_tokens for answer in (on, plain, other, elsewhere)] == [0, 0, 0, 0]
    assert engine.one(prompt(QUESTIONS[0]), [image]).cached_tokens >= 2 * BLOCK, "plain traffic shares with plain"
    for answer, eah in ((on, EAH), (plain, None), (other, OTHER_EAH)):
        assert_same(answer, cold_engine.one(prompt(QUESTIONS[0]), [image], eah))


def test_questions_that_arrive_together_use_one_head(engine: Engine, cold_engine: Engine) -> None:
    """One prompt chooses; the others read, in the same step, what it writes in that step."""
    image = random_image(10)
    asks = [
        Ask(prompt(question), [image], EAH | {"report": 1, "tag": f"together-{idx}"})
        for idx, question in enumerate(QUESTIONS)
    ]
    answers = engine.generate(asks)
    reports = engine.collect(*(f"together-{idx}" for idx in range(len(asks))))["reports"]
    heads = {report["layers"][0]["head"] for report in reports.values()}
    assert len(reports) == len(asks)
    assert len(heads) == 1
    assert sum(answer.cached_tokens > 0 for answer in answers) == len(asks) - 1
    for question, answer in zip(QUESTIONS, answers, strict=True):
        assert_same(answer, cold_engine.one(prompt(question), [image], EAH | {"head": heads.copy().pop()}))


def test_both_choices_of_n_2_share_the_prompt(engine: Engine, cold_engine: Engine) -> None:
    both = engine.one(prompt(QUESTIONS[1]), [random_image(11)], EAH, n=2, temperature=0.01)
    expected = cold_engine.one(prompt(QUESTIONS[1]), [random_image(11)], EAH)
    assert both.tokens == expected.tokens * 2


def test_a_forgotten_head_is_chosen_anew(engine: Engine) -> None:
    _, before = reported(engine, QUESTIONS[0], EAH, "before")
    assert before["layers"][0].get("reused"), "nothing was remembered, so nothing can be forgotten"  # type: ignore[index]
    engine.reset_prefix_cache()
    answer, after = reported(engine, QUESTIONS[0], EAH, "after")
    assert answer.cached_tokens == 0
    assert "reused" not in after["layers"][0]  # type: ignore[index]


def test_a_prompt_without_sinks_stays_as_it_is(engine: Engine, cold_engine: Engine) -> None:
    """That no head was found is remembered too."""
    nothing = {"layer": 1, "threshold": 0.99}
    for question in QUESTIONS[:2]:
        answer, report = reported(engine, question, nothing, "nothing")
        assert (report["applied"], report["reason"]) == (False, "no_sink")
        assert_same(answer, cold_engine.one(prompt(question), [IMAGE]))
    assert answer.cached_tokens >= 2 * BLOCK
