"""Paints the shapes of `world.yaml`: anti-aliased object tiles and the background of a theme.

All of it uses Pillow's integer rasteriser and 8-bit resampling, so a picture does not depend on the machine's floating
point.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from PIL import Image, ImageDraw

from eah_vllm.scenes.vocabulary import COLOURS, KINDS, RGB, THEMES

IMAGE_SIZE = 256
_TILE_UNITS = 48
_OVERSAMPLING = 8  # tiles are painted at 8 times their grid and scaled down, which gives the anti-aliasing


def _fill(fill: str | list[int], main: RGB) -> tuple[int, ...]:
    if isinstance(fill, list):
        return (*fill, 255)
    shades = {
        "main": main,
        "dark": tuple(v * 65 // 100 for v in main),
        "light": tuple(min(255, v + 35) for v in main),
    }
    return (0, 0, 0, 0) if fill == "clear" else (*shades[fill], 255)


def _paint(canvas: ImageDraw.ImageDraw, primitive: dict[str, Any], main: RGB, scale: int) -> None:
    fill = _fill(primitive["fill"], main)
    width = round(primitive.get("width", 1) * scale)
    if "polygon" in primitive:
        canvas.polygon([(x * scale, y * scale) for x, y in primitive["polygon"]], fill)
    elif "line" in primitive:
        canvas.line([(x * scale, y * scale) for x, y in primitive["line"]], fill, width, joint="curve")
    elif "arc" in primitive:
        canvas.arc([v * scale for v in primitive["arc"]], primitive["from"], primitive["to"], fill, width)
    elif "ellipse" in primitive:
        canvas.ellipse([v * scale for v in primitive["ellipse"]], fill)
    else:
        canvas.rectangle([v * scale for v in primitive["rectangle"]], fill)


@cache
def _large_tile(name: str, colour: str) -> Image.Image:
    tile = Image.new("RGBA", (_TILE_UNITS * _OVERSAMPLING,) * 2)
    canvas = ImageDraw.Draw(tile)
    for primitive in KINDS[name].shape:
        _paint(canvas, primitive, COLOURS[colour], _OVERSAMPLING)
    return tile.convert("RGBa")  # resampling needs premultiplied colours


@lru_cache(maxsize=8192)
def object_tile(name: str, colour: str, size: int) -> Image.Image:
    """Paint one object on a transparent RGBA tile of `size` x `size` pixels."""
    return _large_tile(name, colour).resize((size, size), Image.Resampling.BOX).convert("RGBA")


def background(theme: str, horizon: int, sky: RGB, ground: RGB) -> Image.Image:
    """Paint sky or wall above the horizon row, ground below, a light vertical gradient, and the theme's decor."""
    column = []
    for y in range(IMAGE_SIZE):
        shade = (y - horizon // 2) * 24 // horizon if y < horizon else (horizon - y) * 24 // (IMAGE_SIZE - horizon)
        base = sky if y < horizon else ground
        column += [min(255, max(0, v + shade)) for v in base]
    image = Image.frombytes("RGB", (1, IMAGE_SIZE), bytes(column)).resize(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST
    )
    canvas = ImageDraw.Draw(image)
    for primitive in THEMES[theme].decor:
        x0, y0, x1, y1 = primitive["rectangle"]
        canvas.rectangle([x0, horizon + y0, x1, horizon + y1], tuple(primitive["fill"]))
    return image
