"""Removing objects from every caption of the built-in model's world: nothing denied is left, nothing else is lost."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations

from eah_vllm_server.verify.rewrite import remove
from eah_vllm_server.verify.words import WordExtractor

from eah_vllm.scenes.captions import caption
from eah_vllm.scenes.vocabulary import COLOURS, KINDS, NAMES, THEMES
from eah_vllm.scenes.world import POSITIONS

CAPTIONS = 500
EXTRACTOR = WordExtractor({name: () for name in NAMES})

_THING = rf"(?:an? )(?:{'|'.join(COLOURS)}) (?:{'|'.join(NAMES)})"
_PLACE = f"(?:{'|'.join(POSITIONS)})"
_THEME = rf"(?:{'|'.join(THEMES)})"
_SECOND = rf"There is also {_THING} {_PLACE}\.|Next to it, {_THING} can be seen {_PLACE}\."
_SECOND_ALONE = rf"There is {_THING} {_PLACE}\.|{_THING.replace('an?', 'An?')} can be seen {_PLACE}\."
_FIRST = (
    rf"The image shows a {_THEME} scene with {_THING} {_PLACE}\."
    rf"|This is a {_THEME} scene\. There is {_THING} {_PLACE}\."
)
_REST = rf"In the background, {_THING}(?:(?:, {_THING})* and {_THING})? can be seen\."
WHOLE = re.compile(
    rf"(?:(?:{_FIRST})(?: (?:{_SECOND}))?"
    rf"|(?:The image shows a {_THEME} scene\.|This is a {_THEME} scene\.)(?: (?:{_SECOND_ALONE}))?)"
    rf"(?: {_REST})?"
)  # fmt: skip


@dataclass(frozen=True)
class _Thing:
    name: str
    colour: str
    position: str


@dataclass(frozen=True)
class _Scene:
    theme: str
    objects: tuple[_Thing, ...]


def _captions(count: int) -> Iterator[tuple[_Scene, str]]:
    rng = random.Random(14)
    for i in range(count):
        names = rng.sample(NAMES, 1 + i % 5)
        things = tuple(_Thing(n, rng.choice(KINDS[n].colours), rng.choice(POSITIONS)) for n in names)
        scene = _Scene(rng.choice(list(THEMES)), things)
        yield scene, caption(scene, rng)  # type: ignore[arg-type]


def _subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, count) for count in range(len(names) + 1))


def test_any_objects_can_be_removed_from_any_caption() -> None:
    openings, results = set(), 0
    for scene, text in _captions(CAPTIONS):
        names = tuple(thing.name for thing in scene.objects)
        mentions = EXTRACTOR.find_now(text)
        assert tuple(mention.object for mention in mentions) == names
        assert WHOLE.fullmatch(text), text
        openings.add(text.split()[0])
        for denied in _subsets(names):
            left = remove(text, mentions, denied)
            assert [m.object for m in EXTRACTOR.find_now(left)] == [n for n in names if n not in denied], (text, denied)
            assert WHOLE.fullmatch(left), (text, denied, left)
            assert (left == text) == (not denied)
            for thing in scene.objects:  # what is said of the others is still said
                if thing.name not in denied:
                    assert f" {thing.colour} {thing.name}" in left
            results += 1
    assert openings == {"The", "This"}
    assert results == CAPTIONS // 5 * (2 + 4 + 8 + 16 + 32)
