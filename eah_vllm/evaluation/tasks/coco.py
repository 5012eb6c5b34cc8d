"""COCO's 2014 pictures and annotations: which pictures a folder has, and what annotators saw in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from eah_vllm.evaluation.task import TaskError
from eah_vllm.evaluation.tasks.chair_words import CaptionReader

IMAGE_NAME = re.compile(r"COCO_(?P<split>train|val)2014_(?P<id>\d{12})\.jpg")


def coco_images(folder: Path) -> dict[int, str]:
    """Return the file names of a folder's pictures by image id.

    Raises:
        TaskError: the folder cannot be read, or has no picture named as COCO names them.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise TaskError(f"images: {error}") from None
    found = {int(match["id"]): name for name in names if (match := IMAGE_NAME.fullmatch(name))}
    if not found:
        raise TaskError(f"{folder}: no picture with a name such as COCO_val2014_000000000042.jpg")
    return found


def draw(ids: Iterable[int], number: int, seed: int) -> list[int]:
    """Draw `number` of the ids, independent of their order; a smaller number draws the first ones of a larger."""
    return sorted(ids, key=lambda id_: hashlib.sha256(f"{seed}/{id_}".encode()).digest())[:number]


def check_image(path: Path) -> None:
    """Refuse a file that is missing or is no picture.

    Raises:
        TaskError: the file cannot be opened as a picture.
    """
    try:
        with Image.open(path):
            pass
    except OSError as error:
        raise TaskError(f"{path}: not a picture that can be read ({error})") from None


def objects_by_image(folder: Path, images: Mapping[int, str], reader: CaptionReader) -> dict[int, frozenset[str]]:
    """Return the ground truth of CHAIR: categories with a segmentation, and those that the reference captions name.

    Args:
        folder: folder with `instances_val2014.json` and `captions_val2014.json` (`train` for pictures of that split).
        images: file names by image id.
        reader: the reader that finds categories in captions.

    Returns:
        Categories by image id; pictures without a reference caption are left out.

    Raises:
        TaskError: a file is missing, is not JSON, or does not hold the annotations that its name promises.
    """
    objects: dict[int, set[str]] = {id_: set() for id_ in images}
    captioned = set()
    for split in sorted({name.split("_")[1] for name in images.values()}):
        instances = _read(folder / f"instances_{split}.json", ("annotations", "categories"))
        with _Complaint(folder / f"instances_{split}.json", "categories") as at:
            category_of = {}
            for at.entry in instances["categories"]:
                category_of[at.entry["id"]] = reader.words.category_of[at.entry["name"]]
        with _Complaint(folder / f"instances_{split}.json", "annotations") as at:
            for at.entry in instances["annotations"]:
                category = category_of[at.entry["category_id"]]
                if at.entry["image_id"] in objects:
                    objects[at.entry["image_id"]].add(category)
        captions = _read(folder / f"captions_{split}.json", ("annotations",))
        with _Complaint(folder / f"captions_{split}.json", "annotations") as at:
            for at.entry in captions["annotations"]:
                if not at.entry["caption"].strip():
                    raise ValueError("the caption is empty")
                if at.entry["image_id"] in objects:
                    objects[at.entry["image_id"]] |= {m.category for m in reader.mentions(at.entry["caption"])}
                    captioned.add(at.entry["image_id"])
    return {id_: frozenset(found) for id_, found in objects.items() if id_ in captioned}


class _Complaint:
    """Turns what goes wrong with an entry of a list into an error that names the file and shows the entry."""

    entry: Any = None

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __enter__(self) -> _Complaint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, KeyError):
            told: object = f"{error} is missing or not known"
        elif isinstance(error, (TypeError, AttributeError, ValueError)):
            told = error
        else:
            return
        shown = json.dumps(self.entry)[:200]
        raise TaskError(f"{self._path}: {told} in an entry of {self._name!r}: {shown}") from None


def _read(path: Path, lists: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise TaskError(f"annotations: {error}") from None
    except ValueError as error:
        raise TaskError(f"{path}: not JSON ({error})") from None
    missing = [name for name in lists if not isinstance(found, dict) or not isinstance(found.get(name), list)]
    if missing:
        raise TaskError(f"{path}: no list {' and no list '.join(map(repr, missing))}; is it another file?")
    return dict(found)
