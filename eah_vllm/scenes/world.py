"""Makes scenes: a picture and the truth about it, from one integer seed.

No object is invisible: whatever is labelled covers at least `MIN_AREA` pixels of the model's input, differs from its
background by at least `MIN_CONTRAST`, and no more than a tenth of it is covered by something else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from eah_vllm.scenes.drawing import IMAGE_SIZE, background, object_tile
from eah_vllm.scenes.vocabulary import KINDS, NAMES, PARTNER, RGB, THEMES

POSITIONS = ("on the left", "in the middle", "on the right")
MODEL_SIZE = 96  # pixels a side after the processor
MIN_AREA = 22.5  # visible pixels at MODEL_SIZE
MIN_CONTRAST = 40.0  # mean over the object of the largest channel difference, 0..255
MAX_OVERLAP = 0.1
_PIXEL_AREA = (MODEL_SIZE / IMAGE_SIZE) ** 2  # of a drawn pixel, in pixels of the model's input

# Seeds of different splits never meet.
SPLIT_SEEDS = {"train": 1_000_000, "val": 200_000, "test": 300_000}
SPLIT_SCENES = 100_000  # scenes of val and of test
TRAIN_PARTNER_RATE = 0.8  # the language prior a captioner picks up ...
TEST_PARTNER_RATE = 0.5  # ... and the world in which it misleads
_THIRDS = ((0.08, 0.29), (0.38, 0.62), (0.71, 0.92))  # centres stay clear of the borders between left, middle, right
_TRIES = 24


@dataclass(frozen=True)
class SceneObject:
    """One visible object. `area` is in pixels of the model's input; `contrast` is measured as for MIN_CONTRAST."""

    name: str
    colour: str
    position: str
    area: float
    contrast: float


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it, largest object first.

    Attributes:
        image: uint8 `[256, 256, 3]`.
        owner: int8 `[256, 256]`, for each pixel the index in `objects` of what is seen there, -1 for the background.
    """

    seed: int
    theme: str
    objects: tuple[SceneObject, ...]
    image: npt.NDArray[np.uint8] = field(repr=False, compare=False)
    owner: npt.NDArray[np.int8] = field(repr=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """The kinds of object in the picture."""
        return frozenset(o.name for o in self.objects)

    def pil(self) -> Image.Image:
        """Return the picture as a Pillow image."""
        return Image.fromarray(self.image)


def make_scene(seed: int, partner_rate: float = TEST_PARTNER_RATE, faint_rate: float = 0.3) -> Scene:
    """Make the scene of a seed, with the same bytes each time.

    Args:
        seed: any non-negative integer.
        partner_rate: chance that an anchor's partner stands next to it.
        faint_rate: chance that an object other than the first is small and half transparent.
    """
    rng = random.Random(seed)
    theme = rng.choice(list(THEMES))
    names = _choose_names(rng, theme, partner_rate)
    canvas = _Canvas(rng, theme)
    for i, name in enumerate(names):
        canvas.place(name, faint=i > 0 and rng.random() < faint_rate)
    while canvas.empty:  # a colour may be too close to the background, so take another
        canvas.place(names[0], faint=False)
    return canvas.finish(seed, theme)


def split_scenes(split: str, count: int, start: int = 0) -> list[Scene]:
    """Make scenes `start` to `start + count` of a split, with that split's partner rate."""
    rate = TRAIN_PARTNER_RATE if split == "train" else TEST_PARTNER_RATE
    return [make_scene(SPLIT_SEEDS[split] + i, rate) for i in range(start, start + count)]


def model_pixels(scene: Scene) -> npt.NDArray[np.uint8]:
    """Return uint8 `[96, 96, 3]`: the bicubic resize of the checkpoint's CLIP image processor, before normalisation."""
    return np.asarray(scene.pil().resize((MODEL_SIZE, MODEL_SIZE), Image.Resampling.BICUBIC))


def _choose_names(rng: random.Random, theme_name: str, partner_rate: float) -> list[str]:
    theme = THEMES[theme_name]
    first = rng.choice(theme.anchors if rng.random() < 0.85 else theme.others)
    names, partner = [first], PARTNER.get(first)
    if partner and rng.random() < partner_rate:
        names.append(partner)
    pool = [n for n in (*theme.others, *theme.anchors) if n not in names and n != partner]
    if rng.random() < 0.08:  # sometimes an object from another theme
        pool = [n for n in NAMES if n not in names and n != partner]
    count = rng.choices([0, 1, 2, 3], [0.3, 0.4, 0.22, 0.08])[0]
    return names + rng.sample(pool, min(len(pool), count))


def _jitter(colour: RGB, rng: random.Random) -> RGB:
    red, green, blue = (min(255, max(0, v + rng.randint(-18, 18))) for v in colour)
    return red, green, blue


class _Canvas:
    def __init__(self, rng: random.Random, theme: str) -> None:
        self._rng = rng
        sky, ground = _jitter(THEMES[theme].sky, rng), _jitter(THEMES[theme].ground, rng)
        self._image = background(theme, rng.randint(115, 154), sky, ground)
        self._owner = np.full((IMAGE_SIZE, IMAGE_SIZE), -1, np.int8)
        self._placed: list[tuple[str, str, str, float]] = []  # name, colour, position, contrast
        self._whole: list[int] = []  # each object's own pixels, covered or not

    @property
    def empty(self) -> bool:
        return not self._placed

    def place(self, name: str, faint: bool) -> None:
        """Put an object where it can be seen; leave it out if no such place is found."""
        rng, kind = self._rng, KINDS[name]
        colour = rng.choice(kind.colours)
        for _ in range(_TRIES):
            size = round(kind.size * (rng.uniform(36, 52) if faint else rng.uniform(58, 86)))
            alpha = rng.uniform(0.5, 0.85) if faint else 1.0
            third = rng.randrange(3)
            edge = 0.4 * size
            x = min(IMAGE_SIZE - edge, max(edge, rng.uniform(*_THIRDS[third]) * IMAGE_SIZE)) - size / 2
            y = min(IMAGE_SIZE - size, max(0, rng.uniform(*kind.zone) * IMAGE_SIZE - size / 2))
            contrast = self._try_paste(object_tile(name, colour, size), round(x), round(y), alpha)
            if contrast is not None:
                self._placed.append((name, colour, POSITIONS[third], contrast))
                return

    def _try_paste(self, tile: Image.Image, x: int, y: int, alpha: float) -> float | None:
        size = tile.width
        x0, x1 = max(0, x), min(IMAGE_SIZE, x + size)
        mask = np.asarray(tile.getchannel("A"))[:, x0 - x : x1 - x] > 127
        owner = self._owner[y : y + size, x0:x1]
        visible = np.bincount(self._owner[self._owner >= 0], minlength=len(self._placed))
        visible -= np.bincount(owner[mask & (owner >= 0)], minlength=len(self._placed))
        if (visible < (1 - MAX_OVERLAP) * np.array(self._whole)).any():
            return None
        if mask.sum() * _PIXEL_AREA < MIN_AREA / (1 - MAX_OVERLAP):
            return None
        painted = self._image.copy()
        painted.paste(tile, (x, y), tile.getchannel("A").point(lambda v: int(v * alpha)))
        box = (x0, y, x1, y + size)
        change = np.abs(np.asarray(painted.crop(box), np.int16) - np.asarray(self._image.crop(box), np.int16)).max(-1)
        contrast = float(change[mask].mean())
        if contrast < MIN_CONTRAST:
            return None
        self._image = painted
        owner[mask] = len(self._placed)
        self._whole.append(int(mask.sum()))
        return contrast

    def finish(self, seed: int, theme: str) -> Scene:
        areas = np.bincount(self._owner[self._owner >= 0], minlength=len(self._placed)) * _PIXEL_AREA
        order = sorted(range(len(areas)), key=lambda i: -areas[i])
        rank = np.full(len(areas) + 1, -1, np.int8)  # last entry: the background's -1 stays -1
        rank[order] = range(len(order))
        objects = tuple(
            SceneObject(name, colour, position, float(areas[i]), contrast)
            for i in order
            for name, colour, position, contrast in [self._placed[i]]
        )
        return Scene(seed, theme, objects, self._with_noise(), rank[self._owner])

    def _with_noise(self) -> npt.NDArray[np.uint8]:
        x, y = self._rng.randrange(IMAGE_SIZE), self._rng.randrange(IMAGE_SIZE)
        strength = self._rng.randint(2, 8)
        noise = _grain()[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] * strength // 104
        return np.clip(np.asarray(self._image) + noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _grain() -> npt.NDArray[np.int16]:
    """Make film grain, int16 `[512, 512, 3]`, of which each scene takes a random part.

    It is the sum of two uniform bytes, with a standard deviation of 104. Integer arithmetic makes it the same on every
    machine.
    """
    grain = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (2, 2 * IMAGE_SIZE, 2 * IMAGE_SIZE, 3), np.uint8)
    summed: npt.NDArray[np.int16] = grain.sum(0, dtype=np.int16) - np.int16(255)
    return summed
