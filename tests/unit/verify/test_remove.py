"""Removing denied objects from captions of large models: what is left is whole, and nothing in it is new."""

from __future__ import annotations

import re

import pytest
from eah_vllm_server.verify.removal import Removal
from eah_vllm_server.verify.rewrite import remove
from eah_vllm_server.verify.sentences import join, split
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.verify.real_captions import EXTRACTOR, MIXED, OBJECTS, WHOLE

REPAIRS = {"is": {"are"}, "was": {"were"}, "has": {"have"}, "are": {"is", "s"}, "were": {"was"}, "have": {"has"},
           "a": {"the", "another"}, "an": {"the", "another"}, "does": {"do"}, "do": {"does"}}  # fmt: skip
"""The words that a result may have in the place of others; "and" may move, and a verb may gain or lose its -s."""
TEXTS = [*dict.fromkeys(text for text, _, _ in (*WHOLE, *MIXED))]


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W_]+", text.lower()) if word != "and"]


def _same(new: str, old: str) -> bool:
    return new == old or old in REPAIRS.get(new, ()) or new in (old + "s", old + "es") or old in (new + "s", new + "es")


def adds_nothing(left: str, text: str) -> bool:
    """Say whether the words of a result are words of the text, in their order."""
    words = iter(_words(text))
    return all(any(_same(new, old) for old in words) for new in _words(left))


def _objects(text: str) -> set[str]:
    return {mention.object for mention in EXTRACTOR.find_now(text)}


@pytest.mark.parametrize(("text", "denied", "expected"), WHOLE)
def test_nothing_confirmed_is_lost(text: str, denied: set[str], expected: str) -> None:
    mentions = EXTRACTOR.find_now(text)
    assert denied <= {mention.object for mention in mentions}
    assert remove(text, mentions, denied) == expected
    assert not any(left.mixed for left in Removal(text, mentions, denied).left())
    assert _objects(expected) == _objects(text) - denied
    assert adds_nothing(expected, text)


@pytest.mark.parametrize(("text", "denied", "expected"), MIXED)
def test_a_part_that_cannot_be_split_goes_whole(text: str, denied: set[str], expected: str) -> None:
    mentions = EXTRACTOR.find_now(text)
    assert remove(text, mentions, denied) == expected
    assert any(left.mixed for left in Removal(text, mentions, denied).left())
    assert adds_nothing(expected, text)


def test_without_a_denied_object_the_answer_is_the_same() -> None:
    for text in (*TEXTS, "", "  \n ", "No object. "):
        assert remove(text, EXTRACTOR.find_now(text), {"helicopter"}) == text


def test_an_answer_about_denied_objects_alone_becomes_empty() -> None:
    text = "A dog is on a couch.\n\nThe dog sleeps."
    assert remove(text, EXTRACTOR.find_now(text), {"dog", "couch"}) == ""


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_no_denied_object_is_left_and_nothing_is_new(data: st.DataObject) -> None:
    text = " ".join(data.draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3)))
    named = sorted(_objects(text))
    denied = set(data.draw(st.lists(st.sampled_from(named)))) if named else set()
    left = remove(text, EXTRACTOR.find_now(text), denied)
    assert not _objects(left) & denied
    assert adds_nothing(left, text)


_SCRAPS = st.sampled_from(
    [
        "a",
        "the",
        "dog",
        "cat",
        "table",
        "two",
        "people",
        "on",
        "with",
        "next",
        "to",
        "in",
        "front",
        "of",
        "and",
        "or",
        ",",
        ".",
        ";",
        ":",
        "(",
        ")",
        "-",
        "while",
        "as",
        "is",
        "are",
        "sitting",
        "there",
        "it",
        "which",
        "that",
        "its",
        "another",
        "one",
        "of",
        "each",
        "other",
        "holding",
        "his",
        "behind",
        "can",
        "be",
        "seen",
        "no",
        "\n",
        "\n-",
        "狗",
        "。",
        "dog's",
        "i.e.",
        "🐕",
        "The",
        "There",
        "It",
    ]
)


@settings(deadline=None, max_examples=600)
@given(st.lists(_SCRAPS, max_size=60).map(" ".join), st.sets(st.sampled_from(["dog", "cat", "table", "person"])))
@example("a dog on " * 400, {"dog"})
@example("a dog and a cat, " * 200, {"dog"})
@example("(" * 500 + "dog", {"dog"})
@example("the dog which is the cat which is " * 100, {"cat"})
def test_any_text_loses_its_denied_objects_and_gains_nothing(text: str, denied: set[str]) -> None:
    left = remove(text, EXTRACTOR.find_now(text), denied)
    assert not _objects(left) & denied
    assert adds_nothing(left, text)


@given(st.lists(_SCRAPS | st.text(max_size=4), max_size=40).map(" ".join))
def test_sentences_are_the_whole_answer(answer: str) -> None:
    sentences = split(answer)
    assert join(sentences, [answer[s.start : s.end] for s in sentences]) == (answer if sentences else "")


def test_the_objects_of_the_table_are_many() -> None:
    assert len(WHOLE) >= 30
    assert len({name for _, denied, _ in WHOLE for name in denied}) > 25
    assert all(name in OBJECTS for _, denied, _ in WHOLE for name in denied)
