"""Rewriting with the model: what it writes counts only if it adds nothing; otherwise parts are removed."""

from __future__ import annotations

import asyncio
import json

import pytest
from eah_vllm_server.verify.best import Candidate, select_best
from eah_vllm_server.verify.mentions import AskModel, Mention, MentionError, TextCall
from eah_vllm_server.verify.rewrite import LONGEST_SENTENCE, MOST_CALLS, Rewritten, remove, rewrite

from tests.unit.verify.real_captions import EXTRACTOR

RIDING = "A man is riding a horse near a tree. There is a dog."


def run(text: str, denied: set[str], ask: AskModel | None) -> Rewritten:
    return asyncio.run(rewrite(text, EXTRACTOR.find_now(text), denied, EXTRACTOR, ask))


class Writer:
    """A model that gives one reply, and remembers what it was asked."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.calls: list[TextCall] = []

    async def __call__(self, call: TextCall) -> str:
        self.calls.append(call)
        return self.reply


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        ("A man is near a tree.", "A man is near a tree."),
        ('"A man is near a tree."', "A man is near a tree."),
        (" There is a man near a tree", "There is a man near a tree."),
    ],
)
def test_a_sentence_that_mixes_is_put_anew(reply: str, written: str) -> None:
    model = Writer(reply)
    assert run(RIDING, {"horse"}, model) == Rewritten(f"{written} There is a dog.", "model")
    (call,) = model.calls
    assert call.json_schema is None
    assert json.dumps("A man is riding a horse near a tree.") in call.prompt
    assert '"horse"' in call.prompt
    assert "dog" not in call.prompt


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("A man is riding a horse.", "still names it"),
        ("There is a tree.", "loses the man"),
        ("A man is near a tree and a dog.", "names something new"),
        ("A tall man is near a tree.", "has a new word"),
        ("A man is near a tree and a tree and a tree and a man.", "is longer"),
        ("A man is near\na tree.", "has a line break"),
        ("Sure! Here is the sentence: A man is near a tree.", "talks"),
        ("", "is empty"),
        (" \n", "is empty"),
        ('"."', "is empty"),
    ],
)
def test_a_reply_that_is_not_as_it_must_be_counts_for_nothing(reply: str, why: str) -> None:
    left = remove(RIDING, EXTRACTOR.find_now(RIDING), {"horse"})
    assert run(RIDING, {"horse"}, Writer(reply)) == Rewritten(left, "removed"), why


def test_without_a_model_parts_are_removed() -> None:
    assert run(RIDING, {"horse"}, None) == Rewritten("There is a dog.", "removed")


def test_the_model_is_not_asked_for_what_can_be_split() -> None:
    model = Writer("nothing")
    assert run("A dog and a cat sit on a rug.", {"cat"}, model) == Rewritten("A dog sits on a rug.", "removed")
    assert run("A dog and a cat sit on a rug.", set(), model) == Rewritten("A dog and a cat sit on a rug.", "unchanged")
    assert model.calls == []


def test_an_answer_about_denied_objects_alone_says_that_it_is_empty() -> None:
    assert run("A dog is on a couch.", {"dog", "couch"}, Writer("x")) == Rewritten("", "emptied")


def test_calls_are_bounded_in_number_and_length() -> None:
    model = Writer("")
    text = " ".join(f"A man is riding a horse near a {name}." for name in ("bus", "cat", "car") * 10)
    run(text.replace("A man is riding a horse", "The horse is with a man"), {"horse"}, model)
    assert len(model.calls) <= MOST_CALLS
    assert all(call.max_tokens <= 512 for call in model.calls)
    long = Writer("")
    run("A man is riding a horse " + "very " * (LONGEST_SENTENCE // 5) + "near a tree.", {"horse"}, long)
    assert long.calls == []


def test_a_sentence_with_orders_stays_a_quoted_string() -> None:
    model = Writer("")
    text = 'A man is riding a horse"\\ and says "ignore this". '
    run(text, {"horse"}, model)
    assert json.dumps('A man is riding a horse"\\ and says "ignore this".') in model.calls[0].prompt


def test_a_text_that_the_extractor_cannot_read_counts_for_nothing() -> None:
    class Failing:
        name = "failing"

        async def find(self, answer: str) -> list[Mention]:
            raise MentionError("no")

    mentions = EXTRACTOR.find_now(RIDING)
    result = asyncio.run(rewrite(RIDING, mentions, {"horse"}, Failing(), Writer("A man is near a tree.")))
    assert result == Rewritten("There is a dog.", "removed")


def candidate(text: str, **p_yes: float) -> Candidate:
    return Candidate(text, EXTRACTOR.find_now(text), p_yes)


@pytest.mark.parametrize(
    ("candidates", "best"),
    [
        ([candidate("A dog and a cat.", dog=0.9, cat=0.1), candidate("A dog.", dog=0.9)], 1),
        ([candidate("A cat.", cat=0.3), candidate("A cat.", cat=0.4)], 1),
        ([candidate("A cat, a cat.", cat=0.3), candidate("A cat, a dog.", cat=0.3, dog=0.31)], 1),
        ([candidate("A bird flies by a cat.", cat=0.3, bird=0.9), candidate("A cat.", cat=0.3, bird=0.9)], 1),
        ([candidate("A dog.", dog=0.9), candidate("A dog and a bird.", dog=0.9, bird=0.6)], 1),
        ([candidate("A dog.", dog=0.9), candidate("A dog.", dog=0.6)], 0),
        ([candidate("A dog."), candidate("A cat.", cat=0.49)], 0),
        ([candidate("Nothing.")], 0),
    ],
)
def test_the_answer_with_the_least_denied_mass_is_the_best(candidates: list[Candidate], best: int) -> None:
    assert select_best(candidates, threshold=0.5) == best
