"""Measures of the built-in model: CHAIR and recall of captions, POPE-like questions, colours, positions."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from eah_vllm.scenes.captions import Question, colour_question, position_question, presence_question
from eah_vllm.scenes.vocabulary import COLOURS, NAMES, PARTNER
from eah_vllm.scenes.world import POSITIONS, Scene, split_scenes

MENTION = re.compile(
    rf"\b(?:(?P<colour>{'|'.join(COLOURS)}) )?(?P<name>{'|'.join(NAMES)})s?\b"
    rf"(?:(?: can be seen)? (?P<position>{'|'.join(POSITIONS)}))?"
)
NEGATIVES = ("random", "popular", "adversarial")
_POPULARITY_SCENES = 800  # training scenes from which the frequent objects and pairs of POPE are counted


class Asked(NamedTuple):
    """A question about one scene of a test set.

    `group` is one of NEGATIVES, `colour` or `position`; for an object that a caption invents it is `habit` or `other`.
    """

    scene: int
    group: str
    question: Question


def hallucinated(caption: str, scene: Scene) -> set[str]:
    """Return the objects that a caption names and the picture does not show."""
    return {m["name"] for m in MENTION.finditer(caption)} - scene.names


def score_captions(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Score a set of captions, in percent except for `words`.

    CHAIRs is the share of captions that name an absent object, and CHAIRi that of named objects that are absent (arXiv
    1809.02156). `recall` is the share of present objects that are named. `colours` and `positions` are the shares that
    are right, of present objects named with one. `words` is the mean length.
    """
    wrong_captions = wrong = named = found = present = 0
    right: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for text, scene in zip(captions, scenes, strict=True):
        truth = {o.name: {"colour": o.colour, "position": o.position} for o in scene.objects}
        mentions = {m["name"]: m for m in reversed(list(MENTION.finditer(text)))}  # the first mention of each
        absent = mentions.keys() - truth.keys()
        wrong_captions += bool(absent)
        wrong += len(absent)
        named += len(mentions)
        found += len(mentions.keys() & truth.keys())
        present += len(truth)
        for name in mentions.keys() & truth.keys():
            for quality, value in truth[name].items():
                given[quality] += mentions[name][quality] is not None
                right[quality] += mentions[name][quality] == value
    return {
        "CHAIRs": 100 * wrong_captions / len(scenes),
        "CHAIRi": 100 * wrong / max(named, 1),
        "recall": 100 * found / present,
        "words": sum(len(text.split()) for text in captions) / len(scenes),
        "colours": 100 * right["colour"] / max(given["colour"], 1),
        "positions": 100 * right["position"] / max(given["position"], 1),
    }


def mended_and_spoiled(before: Sequence[str], after: Sequence[str], scenes: Sequence[Scene]) -> tuple[int, int]:
    """Count the captions that lose all their hallucinations, and those that get their first."""
    pairs = [
        (bool(hallucinated(b, s)), bool(hallucinated(a, s))) for b, a, s in zip(before, after, scenes, strict=True)
    ]
    return pairs.count((True, False)), pairs.count((False, True))


def doubts(captions: Sequence[str], scenes: Sequence[Scene]) -> list[Asked]:
    """Ask, for each absent object that a caption names, whether it is there.

    The group `habit` has objects that usually stand next to something in the picture. A model that sees denies them.
    """
    asked = []
    for i, (text, scene) in enumerate(zip(captions, scenes, strict=True)):
        expected = {PARTNER[name] for name in scene.names if name in PARTNER}
        for name in sorted(hallucinated(text, scene)):
            asked.append(Asked(i, "habit" if name in expected else "other", presence_question(name, False)))
    return asked


def score_doubts(answers: Sequence[str], asked: Sequence[Asked]) -> dict[str, float]:
    """Score the answers about absent objects that captions name, in percent of these.

    "by habit" is the share that usually stands next to something in the picture, and "denied" the share of which the
    model says "No" when it is asked.
    """
    denied = sum(answer.strip().lower().startswith("no") for answer in answers)
    habit = sum(a.group == "habit" for a in asked)
    return {"by habit": 100 * habit / max(len(asked), 1), "denied": 100 * denied / max(len(asked), 1)}


def build_questions(scenes: Sequence[Scene], seed: int = 0) -> list[Asked]:
    """Ask in each scene about one present object, one absent one per POPE setting, one colour and one position.

    Absent objects are drawn at random, from the three most frequent, or as the one that most often goes with an object
    that is there (arXiv 2305.10355, section 4).
    """
    rng = random.Random(seed)
    frequency: Counter[str] = Counter()
    together: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for scene in split_scenes("train", _POPULARITY_SCENES):
        frequency.update(scene.names)
        for name in scene.names:
            together[name].update(scene.names - {name})
    asked = []
    for i, scene in enumerate(scenes):
        absent = [n for n in NAMES if n not in scene.names]
        company = sum((together[n] for n in sorted(scene.names)), Counter[str]())
        negatives = {
            "random": rng.choice(absent),
            "popular": rng.choice(sorted(absent, key=lambda n: -frequency[n])[:3]),
            "adversarial": max(absent, key=lambda n: company[n]),
        }
        present = rng.choice(scene.objects).name
        for group in NEGATIVES:
            asked += [
                Asked(i, group, presence_question(present, True)),
                Asked(i, group, presence_question(negatives[group], False)),
            ]
        coloured, placed = rng.choice(scene.objects), rng.choice(scene.objects)
        asked.append(Asked(i, "colour", colour_question(coloured.name, coloured.colour)))
        asked.append(Asked(i, "position", position_question(placed.name, placed.position)))
    return asked


def score_answers(answers: Sequence[str], asked: Sequence[Asked]) -> dict[str, float]:
    """Return accuracy in percent per group, over the three POPE settings (`yes/no`), and how often it said yes."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    yes = 0
    for answer, (_, group, question) in zip(answers, asked, strict=True):
        groups = (group, "yes/no") if group in NEGATIVES else (f"{group} questions",)
        correct = answer.strip().rstrip(".").lower() == question.answer.lower()
        right.update(dict.fromkeys(groups, int(correct)))
        total.update(groups)
        yes += group in NEGATIVES and answer.strip().lower().startswith("yes")
    scores = {group: 100 * right[group] / total[group] for group in total}
    return {**scores, "says yes": 100 * yes / max(total["yes/no"], 1)}
