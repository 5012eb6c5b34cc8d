"""Texts about a scene: captions, and questions with their true answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from eah_vllm.scenes.vocabulary import COLOURS, KINDS, NAMES, PARTNER, THEMES
from eah_vllm.scenes.world import POSITIONS, Scene

CAPTION_REQUEST = "Please describe this image in detail."
CAPTION_REQUESTS = (
    CAPTION_REQUEST,
    "Describe the image.",
    "What is in this image?",
    "What can you see in this picture?",
)
_REQUEST_WEIGHTS = (0.7, 0.1, 0.1, 0.1)

_OPENINGS = (
    "The image shows a {theme} scene with {thing} {position}.",
    "This is a {theme} scene. There is {thing} {position}.",
)
_SECONDS = ("There is also {thing} {position}.", "Next to it, {thing} can be seen {position}.")
_REST = "In the background, {things} can be seen."


class Mention(NamedTuple):
    """One object, with its colour and place, as a caption names it."""

    name: str
    colour: str
    position: str

    def __str__(self) -> str:
        return f"{'an' if self.colour[0] in 'aeiou' else 'a'} {self.colour} {self.name}"


class Question(NamedTuple):
    """A question about one object, and the true answer."""

    name: str
    text: str
    answer: str


def caption(scene: Scene, rng: random.Random, habits: bool = False) -> str:
    """Describe a scene, largest object first.

    Args:
        scene: the scene to describe.
        rng: source of the choice between wordings, and of whether habit wins.
        habits: whether to write as people do out of habit, who may name one partner that is expected but absent, with
           the chance `habit` of the object that it goes with. Captions of real training sets, many of them written by
           language models, have this fault. It teaches the model to hallucinate what is usually said, and not what it
           cannot see.
    """
    mentions = [Mention(o.name, o.colour, o.position) for o in scene.objects]
    for name in [o.name for o in scene.objects]:
        partner = PARTNER.get(name)
        if habits and partner and partner not in scene.names and rng.random() < KINDS[name].habit:
            mentions.append(Mention(partner, rng.choice(KINDS[partner].colours), rng.choice(POSITIONS)))
            break
    return _tell(scene.theme, mentions, rng)


def _tell(theme: str, mentions: Sequence[Mention], rng: random.Random) -> str:
    first, *others = mentions
    opening = rng.choices(_OPENINGS, [0.75, 0.25])[0]
    sentences = [opening.format(theme=theme, thing=first, position=first.position)]
    if others:
        second = rng.choices(_SECONDS, [0.7, 0.3])[0]
        sentences.append(second.format(thing=others[0], position=others[0].position))
    if others[1:]:
        *most, last = [str(m) for m in others[1:]]
        sentences.append(_REST.format(things=f"{', '.join(most)} and {last}" if most else last))
    return " ".join(sentences)


def caption_request(rng: random.Random) -> str:
    """Return one way to ask for a caption, mostly the usual one."""
    return rng.choices(CAPTION_REQUESTS, _REQUEST_WEIGHTS)[0]


def presence_question(name: str, present: bool) -> Question:
    """Ask whether an object is there, as the POPE benchmark does (arXiv 2305.10355)."""
    return Question(name, f"Is there a {name} in the image? Please answer yes or no.", "Yes" if present else "No")


def colour_question(name: str, colour: str) -> Question:
    """Ask for the colour of something present; the answer is one word."""
    return Question(name, f"What colour is the {name}?", colour.capitalize())


def position_question(name: str, position: str) -> Question:
    """Ask in which third of the picture something present is."""
    return Question(name, f"Where is the {name}?", position.capitalize())


def training_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Ask about one present and one absent object (often an absent partner), one colour and one position."""
    present = [o.name for o in scene.objects]
    absent = [n for n in NAMES if n not in scene.names]
    expected = [PARTNER[n] for n in present if n in PARTNER and PARTNER[n] in absent]
    pool = expected if expected and rng.random() < 0.4 else absent
    coloured, placed = rng.choice(scene.objects), rng.choice(scene.objects)
    return [
        presence_question(rng.choice(present), True),
        presence_question(rng.choice(pool), False),
        colour_question(coloured.name, coloured.colour),
        position_question(placed.name, placed.position),
    ]


def every_text() -> list[str]:
    """Return texts with all words in their usual surroundings, for training the tokenizer."""
    texts = list(CAPTION_REQUESTS)
    for k, name in enumerate(NAMES):
        texts += [presence_question(name, answer).text for answer in (True, False)] + [" Yes", " No"]
        texts += [colour_question(name, "red").text, position_question(name, POSITIONS[0]).text]
        for theme in THEMES:
            for colour in COLOURS:
                thing = Mention(name, colour, POSITIONS[k % 3])
                fields = {
                    "theme": theme,
                    "thing": thing,
                    "position": thing.position,
                    "things": f"{thing}, {thing} and {thing}",
                }
                texts += [" " + sentence.format(**fields) for sentence in (*_OPENINGS, *_SECONDS, _REST)]
                texts += [" " + colour.capitalize(), " " + thing.position.capitalize()]
    return texts
