"""Draws a map as a small picture, one pixel for each image token, which a page lays over the photograph."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from PIL import Image

COLOUR = (255, 106, 0)
DARKEST = 225
"""Opacity, of 255, of the token that receives most."""


@dataclass(frozen=True, slots=True)
class Heat:
    """One tile over a picture: where it lies, in percent of the picture, and what is drawn there."""

    left: float
    top: float
    width: float
    height: float
    url: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Tiles that are drawn over one copy of the picture."""

    image: int
    thumbnail: bool
    tiles: Sequence[Heat]


def sheets_of(images: Sequence[Mapping[str, Any]]) -> list[Sheet]:
    """Return what is drawn over the pictures of a map; a thumbnail gets a copy of its own, an unknown grid none."""
    sheets = []
    for picture in images:
        if picture.get("grid") is not None:
            continue
        most = max(max(tile["received"]) for tile in picture["tiles"])
        for thumbnail in (False, True):
            tiles = [tile for tile in picture["tiles"] if (tile["box"] is None) == thumbnail]
            if tiles:
                sheets.append(Sheet(picture["image"], thumbnail, [_heat(tile, most) for tile in tiles]))
    return sheets


def _heat(tile: Mapping[str, Any], most: float) -> Heat:
    left, top, right, bottom = tile["box"] or (0.0, 0.0, 1.0, 1.0)
    drawn = Image.new("RGBA", (tile["columns"], tile["rows"]))
    # A few tokens receive most of the attention; the square root lets the others be seen too.
    drawn.putdata([(*COLOUR, round(DARKEST * sqrt(value / most)) if most else 0) for value in tile["received"]])
    buffer = io.BytesIO()
    drawn.save(buffer, "png")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Heat(100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top), url)
