"""The scenes world: reproducible, truthful, and nothing in it invisible."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from eah_vllm.scenes import vocabulary
from eah_vllm.scenes.benchmark import (
    build_questions,
    doubts,
    hallucinated,
    score_answers,
    score_captions,
    score_doubts,
)
from eah_vllm.scenes.captions import caption, training_questions
from eah_vllm.scenes.samples import PATCH_LABELS, patch_labels
from eah_vllm.scenes.vocabulary import KINDS, NAMES, PARTNER, THEMES, WorldError, load_world
from eah_vllm.scenes.world import MIN_AREA, MIN_CONTRAST, POSITIONS, SPLIT_SEEDS, Scene, make_scene, split_scenes

PINNED = {
    0: "9a13e947c10a41ef774f5f532b34385257845ebbe82db74b7fec4c0290bcf439",
    300_007: "8a034b25b46738f5d3ce7fe930d7c666ec73f8367df276f23225410873022cb1",
}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return split_scenes("train", 250) + split_scenes("test", 250)


@pytest.mark.parametrize("seed", sorted(PINNED))
def test_a_seed_gives_the_same_bytes_on_every_machine(seed: int) -> None:
    assert hashlib.sha256(make_scene(seed).image.tobytes()).hexdigest() == PINNED[seed]


def test_a_scene_does_not_depend_on_those_made_before() -> None:
    first = make_scene(5)
    make_scene(6)
    again = make_scene(5)
    assert first == again
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.owner, again.owner)


def test_splits_never_share_a_seed() -> None:
    starts = sorted(SPLIT_SEEDS.values())
    assert min(b - a for a, b in pairwise(starts)) >= 100_000
    assert max(SPLIT_SEEDS.values()) == SPLIT_SEEDS["train"], "training, of open length, comes last"


def test_no_object_is_invisible(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.objects, scene.seed
        for i, thing in enumerate(scene.objects):
            assert thing.area == pytest.approx((scene.owner == i).sum() * (96 / 256) ** 2), (scene.seed, thing)
            assert thing.area >= MIN_AREA, (scene.seed, thing)
            assert thing.contrast >= MIN_CONTRAST, (scene.seed, thing)


def test_labels_say_where_things_are(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert len(scene.names) == len(scene.objects), "a name is unambiguous"
        assert [o.area for o in scene.objects] == sorted((o.area for o in scene.objects), reverse=True)
        for i, thing in enumerate(scene.objects):
            centre = np.nonzero(scene.owner == i)[1].mean() / 256
            low, high = {"on the left": (0, 0.36), "in the middle": (0.31, 0.69), "on the right": (0.64, 1)}[
                thing.position
            ]
            assert low < centre < high, (scene.seed, thing, centre)
            assert thing.colour in KINDS[thing.name].colours


def test_the_partner_is_more_frequent_in_training_than_in_tests(scenes: list[Scene]) -> None:
    def rate(part: list[Scene]) -> float:
        anchors = [s for s in part if s.objects and any(n in PARTNER for n in s.names)]
        return sum(any(PARTNER.get(n) in s.names for n in s.names) for s in anchors) / len(anchors)

    assert rate(scenes[:250]) > rate(scenes[250:]) + 0.15


def test_a_caption_without_habit_tells_the_truth(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    captions = [caption(s, rng) for s in scenes]
    scores = score_captions(captions, scenes)
    assert {k: scores[k] for k in ("CHAIRs", "CHAIRi", "recall", "colours", "positions")} == {
        "CHAIRs": 0, "CHAIRi": 0, "recall": 100, "colours": 100, "positions": 100,
    }  # fmt: skip
    assert all(s.theme in text for s, text in zip(scenes, captions, strict=True))


def test_habit_adds_absent_partners_only(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    habits, expected, added = 0.0, 0, 0
    for scene in scenes * 4:
        absent = {PARTNER[n]: KINDS[n].habit for n in scene.names if PARTNER.get(n, n) not in scene.names}
        names = hallucinated(caption(scene, rng, habits=True), scene)
        assert len(names) <= 1
        assert names <= absent.keys()
        if len(absent) == 1:
            habits, expected, added = habits + sum(absent.values()), expected + 1, added + len(names)
    assert expected > 400
    assert added / expected == pytest.approx(habits / expected, abs=0.06)


def test_questions_have_the_true_answers(scenes: list[Scene]) -> None:
    rng = random.Random(0)
    asked = [(s, q) for s in scenes for q in training_questions(s, rng)]
    asked += [(scenes[a.scene], a.question) for a in build_questions(scenes)]
    for scene, question in asked:
        truth = {o.name: o for o in scene.objects}
        if question.answer in ("Yes", "No"):
            assert (question.name in truth) == (question.answer == "Yes")
        elif question.text.startswith("What colour"):
            assert question.answer.lower() == truth[question.name].colour
        else:
            assert question.answer.lower() == truth[question.name].position


def test_scores_count_what_they_say() -> None:
    scene = next(s for s in split_scenes("test", 50) if len(s.objects) == 2)
    one, other = scene.objects
    absent = next(n for n in NAMES if n not in scene.names)
    wrong_place = next(p for p in POSITIONS if p != one.position)
    texts = [
        f"a {one.colour} {one.name} {wrong_place} and a {absent}.",
        f"a {one.colour} {one.name}. a {other.name} {other.position}.",
    ]
    scores = score_captions(texts, [scene, scene])
    assert (scores["CHAIRs"], scores["CHAIRi"], scores["recall"]) == (50, 25, 75)
    assert (scores["colours"], scores["positions"]) == (100, 50)


def test_answers_are_scored_by_group(scenes: list[Scene]) -> None:
    asked = build_questions(scenes[:20])
    scores = score_answers(["Yes"] * len(asked), asked)
    assert scores["yes/no"] == scores["adversarial"] == 50
    assert scores["says yes"] == 100
    assert scores["colour questions"] == 0
    assert score_answers([a.question.answer for a in asked], asked)["position questions"] == 100


def test_hallucinations_are_told_apart_by_cause() -> None:
    scene = next(s for s in split_scenes("test", 50) if len(s.objects) == 1 and PARTNER.get(s.objects[0].name))
    partner = PARTNER[scene.objects[0].name]
    stranger = next(n for n in NAMES if n not in (*scene.names, partner))
    asked = doubts([f"a red {partner} and a red {stranger}.", f"a red {scene.objects[0].name}."], [scene, scene])
    assert {(a.scene, a.group, a.question.name) for a in asked} == {(0, "habit", partner), (0, "other", stranger)}
    assert score_doubts(["No", "Yes"], asked) == {"by habit": 50, "denied": 50}
    assert score_doubts([], []) == {"by habit": 0, "denied": 0}


def test_patch_labels_follow_the_picture(scenes: list[Scene]) -> None:
    for scene in scenes[:50]:
        shown = {PATCH_LABELS[i] for i in np.nonzero(patch_labels(scene).any(0))[0]}
        assert shown <= {v for o in scene.objects for v in (o.name, o.colour, o.position)}
        assert {o.name for o in scene.objects if o.area > 60} <= shown


def test_every_anchor_has_a_partner_to_expect() -> None:
    for theme in THEMES.values():
        for anchor in theme.anchors:
            assert PARTNER[anchor] in NAMES


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("objects", "car", "partner"), "unicorn", "unknown partner unicorn"),
        (("objects", "car", "colours"), ["mauve"], "mauve"),
        (("objects", "car", "zone"), [0.9, 0.1], "zone"),
        (("objects", "car", "habit"), 1.5, "habit"),
        (("objects", "car", "shape"), [{"fill": "main"}], "needed in"),
        (("objects", "car", "shape"), [{"ellipse": [0, 0, 1, 1], "fill": "glow"}], "fill"),
        (("themes", "sea", "others"), ["kraken"], "kraken"),
        (("colours", "red"), [300, 0, 0], "not an RGB triple"),
    ],
)
def test_a_wrong_world_file_is_refused_by_name(
    tmp_path: Path, path: tuple[str, ...], value: object, message: str
) -> None:
    data = yaml.safe_load(Path(vocabulary.__file__).with_name("world.yaml").read_text(encoding="utf-8"))
    entry = data
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    broken = tmp_path / "world.yaml"
    broken.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(WorldError, match=message):
        load_world(broken)
