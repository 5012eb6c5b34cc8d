"""Mentions by a list of words: exact places, whole words, longest names, and what a text says is not there."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from eah_vllm_server.verify.inflection import singular
from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.words import LONGEST_NAME, MOST_NAMES, WordExtractor, read_objects, read_word_file
from hypothesis import given, settings
from hypothesis import strategies as st

from eah_vllm.evaluation.task import TaskError

OBJECTS = {
    "dog": ["puppy", "hound"],
    "cat": ["kitten"],
    "hot dog": [],
    "light": [],
    "traffic light": ["stoplight"],
    "teddy bear": [],
    "bear": [],
    "person": ["man", "woman", "child"],
    "knife": [],
    "bus": [],
    "Straße": [],
    "café": [],
    "狗": ["小狗"],
    "热狗": [],
    "t-shirt": [],
    "sheep": [],
    "shelf": [],
    "glass of wine": [],
    "arbre": [],
    "clock": [],
}
EXTRACTOR = WordExtractor(OBJECTS)


def found(text: str, extractor: WordExtractor = EXTRACTOR) -> list[tuple[str, str]]:
    return [(mention.text, mention.object) for mention in asyncio.run(extractor.find(text))]


def check_places(answer: str, mentions: Sequence[Mention]) -> None:
    end = 0
    for mention in mentions:
        assert answer[mention.start : mention.end] == mention.text
        assert end <= mention.start < mention.end
        end = mention.end


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog and a cat.", [("dog", "dog"), ("cat", "cat")]),
        ("A dog, two dogs and the dog's dog.", [("dog", "dog"), ("dogs", "dog"), ("dog", "dog"), ("dog", "dog")]),
        ("DOGS! Puppies.", [("DOGS", "dog"), ("Puppies", "dog")]),
        ("A traffic light above a light.", [("traffic light", "traffic light"), ("light", "light")]),
        ("Traffic-lights, and traffic\nlights.", 
         [("Traffic-lights", "traffic light"), ("traffic\nlights", "traffic light")]),
        ("Two hot dogs and a dog", [("hot dogs", "hot dog"), ("dog", "dog")]),
        ("a teddy bear, not the bear.", [("teddy bear", "teddy bear"), ("bear", "bear")]),
        ("This category of dogma, catalog and doghouse.", []),
        ("A cat-like statue and a cat-shaped cake", []),
        ("a tabby-cat", [("cat", "cat")]),
        ("cat—dog, cat--dog, (cat)", [("cat", "cat"), ("dog", "dog"), ("cat", "cat"), ("dog", "dog"), ("cat", "cat")]),
        ("cat_dog cat2 2dogs", []),
        ("Women, men and children hold knives near buses.",
         [("Women", "person"), ("men", "person"), ("children", "person"), ("knives", "knife"), ("buses", "bus")]),
        ("People and sheep on shelves", [("People", "person"), ("sheep", "sheep"), ("shelves", "shelf")]),
        ("Eine STRASSE, eine Straße, Straßenbahn", [("STRASSE", "Straße"), ("Straße", "Straße")]),
        ("ein Cafe, ein café, cafe\u0301s", [("café", "café"), ("cafe\u0301s", "café")]),
        ("图中有一只狗和一个热狗。", [("狗", "狗"), ("热狗", "热狗")]),
        ("一只小狗", [("小狗", "狗")]),
        ("我的dog狗", [("dog", "dog"), ("狗", "狗")]),
        ("A T-shirt, a T\u2011shirt and t shirts", 
         [("T-shirt", "t-shirt"), ("T\u2011shirt", "t-shirt"), ("t shirts", "t-shirt")]),
        ("two glasses of wine", [("glasses of wine", "glass of wine")]),
        ("the dog\u2019s bowl and the dogs' bowls", [("dog", "dog"), ("dogs", "dog")]),
        ("sous l\u2019arbre, at five o'clock by the clock", [("arbre", "arbre"), ("clock", "clock")]),
        ("don't", []),
        ("\uff44\uff4f\uff47", [("\uff44\uff4f\uff47", "dog")]),
        ("", []),
    ],
)  # fmt: skip
def test_names_are_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected
    check_places(text, EXTRACTOR.find_now(text))


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        ("There is no dog.", []),
        ("No dogs or cats are visible, but a bus is.", ["bus"]),
        ("There are no dogs, cats, or buses. A bear sits.", ["bear"]),
        ("There is no dog, a cat sits there.", ["cat"]),
        ("A street without a dog or a cat near a bus.", ["bus"]),
        ("There isn't any dog and there isn\u2019t a cat.", []),
        ("The image does not show a dog but a cat.", ["cat"]),
        ("The image doesn't appear to have any visible people or dogs.", []),
        ("There is no sign of a dog.", []),
        ("No dog is on the bus.", ["bus"]),
        ("No one is on the bus.", ["bus"]),
        ("The dog is no longer with the cat.", ["dog", "cat"]),
        ("Not only a dog, also a cat.", ["dog", "cat"]),
        ("The dog is not far from the bus.", ["dog", "bus"]),
        ("The man is not holding a knife.", ["person"]),
        ("A bus is parked, and a dog is not visible.", ["bus"]),
        ("The cat cannot be seen in the image, while the dog sleeps.", ["dog"]),
        ("Neither a dog nor a cat is there.", []),
        ("A bear instead of a dog.", ["bear"]),
        ("Kein dog, ohne cat, pas de bus, sans bear", []),
        ("图中没有狗\uff0c有热狗。", ["热狗"]),
        ("There is a notable dog and a knotted cat.", ["dog", "cat"]),
        ("There are no cars.\n\nA dog sleeps.", ["dog"]),
    ],
)
def test_what_is_said_not_to_be_there_is_no_claim(text: str, claimed: list[str]) -> None:
    assert [mention.object for mention in EXTRACTOR.find_now(text)] == claimed


_TEXTS = st.lists(
    st.sampled_from(
        ["dog", "Dogs", "cat", "hot dog", "traffic light", "no", "without", "狗", "热狗", "Straße", "STRASSE",
         "cafe\u0301", "\u0301", "ß", " ", " ", " ", ", ", ".\n", "'s", "\u2019", "-", "ﬁ", "\u200d",
         "🐕", "İ", "e", "_", "or", "and"]
    ) | st.text(max_size=3)
).map("".join)  # fmt: skip


@given(_TEXTS)
@settings(max_examples=600, deadline=None)
def test_places_are_exact_whatever_the_text(answer: str) -> None:
    mentions = EXTRACTOR.find_now(answer)
    check_places(answer, mentions)
    assert all(mention.object in OBJECTS for mention in mentions)
    for mention in mentions:  # no mark that belongs to the last letter is cut off
        assert not unicodedata.category(answer[mention.end : mention.end + 1] or " ").startswith("M")


@given(st.lists(st.sampled_from(["dog", "traffic light", "Straße", "café", "teddy bears", "puppies"]), max_size=8))
def test_every_name_between_other_words_is_found(names: list[str]) -> None:
    text = "".join(f"x {name}, " for name in names)
    assert [mention.text for mention in EXTRACTOR.find_now(text)] == names
    decomposed = unicodedata.normalize("NFD", text)
    assert [mention.object for mention in EXTRACTOR.find_now(decomposed)] == [
        mention.object for mention in EXTRACTOR.find_now(text)
    ]


def test_a_letter_with_another_mark_is_another_letter() -> None:
    assert found("fox\u0301 fox", WordExtractor({"fox": []})) == [("fox", "fox")]


def test_a_word_of_the_list_comes_before_a_plural_by_rule() -> None:
    extractor = WordExtractor({"glass": [], "eyewear": ["glasses"]})
    assert found("a glass and glasses", extractor) == [("glass", "glass"), ("glasses", "eyewear")]


def test_no_object_hides_the_words_inside_it() -> None:
    extractor = WordExtractor({"train": []}, no_object=["train track"])
    assert found("a train on train tracks", extractor) == [("train", "train")]


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        *(("dogs", "dog"), ("buses", "bus"), ("knives", "knife"), ("shelves", "shelf"), ("women", "woman")),
        *(("people", "person"), ("traffic lights", "traffic light"), ("cherries", "cherry"), ("dishes", "dish")),
        *(("bookshelves", "bookshelf"), ("children", "child"), ("mice", "mouse"), ("cups of tea", "cup of tea")),
        *((word, word) for word in ("glass", "scissors", "grass", "bus", "tennis racket", "sheep", "dog")),
    ],
)
def test_singulars(plural: str, expected: str) -> None:
    assert singular(plural) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["dog", " hot  dog "], {"dog": (), "hot dog": ()}),
        ({"dog": ["puppy"], "cat": []}, {"dog": ("puppy",), "cat": ()}),
        (("dog", "dog"), {"dog": ()}),
        ({"dog": ["Dog"]}, {"dog": ("Dog",)}),
    ],
)
def test_lists_of_objects(value: object, expected: dict[str, tuple[str, ...]]) -> None:
    assert read_objects(value) == expected


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("dog", "objects must be"),
        (7, "got 7"),
        ([], "empty"),
        ({}, "empty"),
        ([""], "1 to 80 characters, got ''"),
        (["..."], "got '...'"),
        (["a\x00b"], "got"),
        ([3], "got 3"),
        (["x" * (LONGEST_NAME + 1)], "1 to 80"),
        ({"dog": "puppy"}, "synonyms of 'dog' must be a list, got 'puppy'"),
        ({"dog": ["pet"], "cat": ["pet"]}, "'pet' stands for 'dog' and for 'cat'"),
        ([f"thing {i}" for i in range(MOST_NAMES + 1)], "more than 2000"),
    ],
)
def test_what_is_no_list_of_objects_is_refused_by_name(value: object, named: str) -> None:
    with pytest.raises(ValueError, match=r"^objects") as refused:
        read_objects(value)
    assert named in str(refused.value)


def test_cocos_list_is_read_in_both_of_its_forms(tmp_path: Path) -> None:
    lines = "person, man, woman\ntrain\nairplane, jet\nteddy bear, teddybear\nbear\ntie\ntoilet\n"
    (tmp_path / "synonyms.txt").write_text(lines, encoding="utf-8")
    inverse = {word: row.split(", ")[0] for row in lines.splitlines() for word in row.split(", ")}
    double = {"teddy bear": "teddy bear", "train track": "train track", "passenger jet": "jet", "bow tie": "tie"}
    (tmp_path / "utils.py").write_text(f"INVERSE_SYNONYM_DICT = {inverse!r}\nDOUBLE_WORD_DICT = {double!r}\n")
    text = "A man by passenger jets, a train on train tracks, a teddy bear with a bow tie, bears"
    named = ["person", "airplane", "train", "teddy bear", "tie", "bear"]
    for name in ("synonyms.txt", "utils.py"):
        words = read_word_file(tmp_path / name)
        extractor = WordExtractor(words.objects, words.no_object)
        assert [mention.object for mention in extractor.find_now(text)] == named, name
    with pytest.raises(TaskError, match=r"missing\.txt"):
        read_word_file(tmp_path / "missing.txt")
