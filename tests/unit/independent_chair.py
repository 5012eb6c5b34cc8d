"""CHAIR once more, from its description (arXiv 1809.02156 and the rules of its word list); shares no code with ours.

One regular expression finds the longest names first, from left to right; plurals are written out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

PLURALS = {
    "man": "men", "woman": "women", "policeman": "policemen", "child": "children", "baby": "babies",
    "puppy": "puppies", "goose": "geese", "pony": "ponies", "sheep": "sheep", "bus": "buses", "minibus": "minibuses",
    "ferry": "ferries", "wine glass": "wine glasses", "knife": "knives", "pocketknife": "pocketknives",
    "bench": "benches", "couch": "couches", "skis": "skis", "mouse": "mice", "sandwich": "sandwiches",
}  # fmt: skip
ANIMALS = ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub"]


class IndependentChair:
    def __init__(self, folder: Path) -> None:
        self.names: dict[str, str | None] = {}
        for line in (folder / "synonyms.txt").read_text().splitlines():
            category, *_ = words = line.split(", ")
            for word in words:
                self._add(word, category)
        self._add("train track", None)
        self._add("home plate", None)
        for animal in ANIMALS:
            self._add(f"baby {animal}", self.names.get(animal))
            self._add(f"adult {animal}", self.names.get(animal))
        self._add("passenger jet", self.names["jet"])
        self._add("passenger train", self.names["train"])
        self._add("toilet seat", self.names["toilet"])
        longest_first = sorted(self.names, key=len, reverse=True)
        self._finder = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?![\w-])")
        self.present: dict[int, set[str]] = {}
        instances = json.loads((folder / "annotations/instances_val2014.json").read_text())
        category = {entry["id"]: entry["name"] for entry in instances["categories"]}
        for entry in instances["annotations"]:
            self.present.setdefault(entry["image_id"], set()).add(category[entry["category_id"]])
        for entry in json.loads((folder / "annotations/captions_val2014.json").read_text())["annotations"]:
            self.present.setdefault(entry["image_id"], set()).update(self.objects(entry["caption"]))

    def _add(self, word: str, category: str | None) -> None:
        self.names[word] = category
        self.names[PLURALS.get(word, f"{word}s")] = category

    def objects(self, caption: str) -> list[str]:
        """Categories in the order in which they are named."""
        found = self._finder.findall(caption.lower())
        if any(word in ("toilet", "toilets", "toilet seat", "toilet seats") for word in found):
            found = [word for word in found if word not in ("seat", "seats")]
        return [category for word in found if (category := self.names[word]) is not None]

    def score(self, captions: list[tuple[int, str]]) -> dict[str, float]:
        """Percentages; counted caption by caption, mention by mention."""
        bad_captions = bad_mentions = mentions = found = there = 0
        for image, caption in captions:
            objects = self.objects(caption)
            wrong = [name for name in objects if name not in self.present[image]]
            bad_captions += 1 if wrong else 0
            bad_mentions += len(wrong)
            mentions += len(objects)
            found += len(self.present[image].intersection(objects))
            there += len(self.present[image])
        return {
            "chairs": 100 * bad_captions / len(captions),
            "chairi": 100 * bad_mentions / mentions,
            "recall": 100 * found / there,
        }
