"""A hand-made COCO: words, annotations, pictures and captions, with every oddity of CHAIR in them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

# As data/synonyms.txt has it: a category and its other words on a line.
SYNONYMS = """\
person, man, woman, child, baby, adult, passenger, policeman
dog, puppy, hound
cat, kitten
bird, goose, duck
horse, pony
bear, panda
elephant
sheep, lamb
bus, minibus
train, locomotive
airplane, plane, jet
car, taxi
boat, ferry
traffic light, stop light
wine glass
cup, mug
knife, pocketknife
hot dog
teddy bear, teddybear
bench, pew
chair, seat, stool
toilet, lavatory
tie, bow, bow tie
couch, sofa
skis, ski
mouse
sandwich, burger
potted plant, houseplant
bowl
"""
CATEGORIES = [line.split(", ")[0] for line in SYNONYMS.splitlines()]

# What a writer may say for each category.
SAYINGS = {
    "person": ["a man", "two men", "a woman", "women", "children", "a policeman", "policemen", "babies", "passengers"],
    "dog": ["a dog", "dogs", "puppies", "a baby dog", "an adult dog", "the dog's bone"],
    "cat": ["a cat", "cats", "a kitten", '"cats"'],
    "bird": ["a goose", "geese", "ducks", "baby birds", "a baby bird"],
    "horse": ["a pony", "ponies", "horses"],
    "bear": ["a bear", "pandas", "a baby bear"],
    "elephant": ["a baby elephant", "elephants", "an adult elephant"],
    "sheep": ["sheep", "a lamb", "lambs"],
    "bus": ["a bus", "buses", "minibuses"],
    "train": ["a train", "locomotives", "a passenger train"],
    "airplane": ["a plane", "planes", "a passenger jet", "jets"],
    "car": ["cars", "a taxi", "taxis"],
    "boat": ["a boat", "ferries"],
    "traffic light": ["a traffic light", "traffic lights", "a stop light"],
    "wine glass": ["a wine glass", "wine glasses"],
    "cup": ["a cup", "mugs", "(cups)"],
    "knife": ["a knife", "knives", "pocketknives"],
    "hot dog": ["a hot dog", "hot dogs", "Hot Dogs"],
    "teddy bear": ["a teddy bear", "teddy bears", "a teddybear"],
    "bench": ["a bench", "benches", "pews"],
    "chair": ["a chair", "stools", "a seat", "seats"],
    "toilet": ["a toilet", "a toilet seat", "the seat of the toilet", "toilets"],
    "tie": ["a tie", "ties", "a bow tie", "bow ties"],
    "couch": ["a couch", "couches", "sofas"],
    "skis": ["skis", "a ski"],
    "mouse": ["a mouse", "mice"],
    "sandwich": ["a sandwich", "sandwiches", "burgers"],
    "potted plant": ["a potted plant", "potted plants", "houseplants"],
    "bowl": ["a bowl", "bowls"],
}
TRAPS = ["train tracks", "the train track", "home plate", "a hot-dog stand", "a catalog", "a dogwood", "busy streets"]
TRAPS += ["an orange sky", "a skier-free slope", "glasses", "lights", "a cub", "a baby cub", "unseated riders"]
ENDS = [". ", ". ", ", and ", "; ", "! ", "... ", ".\n\n"]


def sentence(names: list[str], rng: random.Random) -> str:
    """Names each category in one of its ways, and a few things that are none."""
    said = [rng.choice(SAYINGS[name]) for name in names] + rng.sample(TRAPS, rng.randint(1, 2))
    rng.shuffle(said)
    text = "".join(
        f"{rng.choice(['there is', 'next to', 'I see', 'beside'])} {part}{rng.choice(ENDS)}" for part in said
    )
    return (text[:1].upper() + text[1:]).strip(" ,;\n") if rng.random() < 0.7 else text + "nothing else."


def image_name(id_: int) -> str:
    return f"COCO_val2014_{id_:012d}.jpg"


def make_coco(folder: Path, images: int = 120, seed: int = 0) -> dict[int, list[str]]:
    """`images/`, `annotations/` and `synonyms.txt`; returns the categories of each image that are segmented."""
    rng = random.Random(seed)
    ids = rng.sample(range(1, 580_000), images)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "synonyms.txt").write_text(SYNONYMS)
    segmented: dict[int, list[str]] = {}
    instances: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    for id_ in ids:
        Image.new("RGB", (8, 8), (id_ % 256, 0, 0)).save(folder / "images" / image_name(id_))
        segmented[id_] = rng.sample(CATEGORIES, rng.randint(0, 5))
        instances += [{"image_id": id_, "category_id": 100 + CATEGORIES.index(name)} for name in segmented[id_]]
        for _ in range(5):
            said = rng.sample(segmented[id_], min(len(segmented[id_]), 2)) + rng.sample(CATEGORIES, rng.random() < 0.2)
            captions.append({"image_id": id_, "caption": sentence(said, rng)})
    rng.shuffle(instances)
    rng.shuffle(captions)
    categories = [{"id": 100 + number, "name": name} for number, name in enumerate(CATEGORIES)]
    listed = [{"id": id_, "file_name": image_name(id_)} for id_ in ids]
    write(folder, "instances_val2014.json", {"images": listed, "annotations": instances, "categories": categories})
    write(folder, "captions_val2014.json", {"images": listed, "annotations": captions})
    return segmented


def write(folder: Path, name: str, content: Any) -> None:
    (folder / "annotations" / name).write_text(json.dumps(content))


def make_captions(segmented: dict[int, list[str]], per_image: int, seed: int = 1) -> list[tuple[int, str]]:
    """Captions as a model would write them: some of what is there, some of what is not, some of it twice."""
    rng = random.Random(seed)
    found = []
    for id_ in list(segmented) * per_image:
        names = rng.sample(segmented[id_], rng.randint(0, len(segmented[id_])))
        names += rng.choices(CATEGORIES, k=rng.randint(0, 3))
        found.append((id_, sentence(names + rng.sample(names, min(1, len(names))), rng)))
    return found
