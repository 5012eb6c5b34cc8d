"""Lays a picture's tokens over it. Each family's kind of grid stands in its row of `eah_vllm/models.py`.

What the tokens of a picture do not add up to is no grid: then nothing is said about their places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

from eah_vllm_server.inspect.prompt import Picture

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Tile:
    """A grid of image tokens, row by row from the top left corner."""

    rows: int
    columns: int
    places: Sequence[int]
    """For each of them its number among the picture's image tokens."""
    box: Box | None
    """Left, top, right and bottom edge in shares of the picture; None for a thumbnail of all of it, beside others."""


@dataclass(frozen=True, slots=True)
class Vision:
    """What a model's configuration and processor say about its pictures.

    Attributes:
        side: tokens along a side of the vision tower's square, before any are merged.
        tile: pixels along it.
        merge: patches along a side of what becomes one token.
        pinpoints: canvases, height and width in pixels, of which the best is taken.
        most_tiles: squares beyond which a canvas is made smaller; 0: none is.
        crops: whether the processor cuts a square out of the picture's middle.
    """

    side: int = 0
    tile: int = 0
    merge: int = 1
    pinpoints: Sequence[tuple[int, int]] = ()
    most_tiles: int = 0
    crops: bool = False


def vision_of(config: Any, processor: Any) -> Vision:
    """Read a model's `config.json`, and the image processor that Hugging Face makes for it (None: there is none)."""
    vision = getattr(config, "vision_config", None)
    tile, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    known = isinstance(tile, int) and isinstance(patch, int)
    aspect = str(getattr(config, "vision_aspect_ratio", ""))
    return Vision(
        side=tile // patch if known else 0,  # type: ignore[operator]
        tile=tile if known else 0,  # type: ignore[arg-type]
        merge=getattr(vision, "spatial_merge_size", 1),
        pinpoints=tuple((height, width) for height, width in getattr(config, "image_grid_pinpoints", None) or ()),
        most_tiles=int(aspect.removeprefix("anyres_max_")) if aspect.startswith("anyres_max_") else 0,
        crops=bool(getattr(processor, "do_center_crop", False)),
    )


def tiles_of(kind: str, picture: Picture, vision: Vision) -> list[Tile] | None:
    """Return a picture's tiles, in the order of its tokens; None where its grid is not known."""
    make = KINDS.get(kind) if picture.modality == "image" else None
    tiles = None if make is None else make(picture, vision)
    return tiles or None


def _square(picture: Picture, vision: Vision) -> list[Tile]:
    side = isqrt(picture.tokens)
    if side * side != picture.tokens:
        return []
    box: Box | None = WHOLE
    if vision.crops:  # the processor scales the shorter edge to the square's, and cuts off both ends of the longer one
        width, height = picture.size or (0, 0)
        across, down = (min(width, height) / max(length, 1) / 2 for length in (width, height))
        box = (0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down) if picture.size else None
    return [Tile(side, side, range(picture.tokens), box)]


def _merged(picture: Picture, vision: Vision) -> list[Tile]:
    _, height, width = picture.facts.get("image_grid_thw", (0, 0, 0))
    rows, columns = height // vision.merge, width // vision.merge
    return [Tile(rows, columns, range(picture.tokens), WHOLE)] if rows * columns == picture.tokens else []


def _lines(picture: Picture, _: Vision) -> list[Tile]:
    rows, columns = len(picture.runs), picture.runs[0]
    return [Tile(rows, columns, range(picture.tokens), WHOLE)] if rows * columns == picture.tokens else []


def _tiles(picture: Picture, _: Vision) -> list[Tile]:
    counts = picture.facts.get("num_patches") or picture.facts.get("image_num_patches") or (len(picture.runs),)
    count = counts[0]
    side = isqrt(picture.tokens // count) if count else 0
    if side == 0 or count * side * side != picture.tokens:
        return []
    places = [range(start, start + side * side) for start in range(0, picture.tokens, side * side)]
    if count == 1:
        return [Tile(side, side, places[0], WHOLE)]
    if picture.size is None:
        return []
    rows, columns = _arrangement(count - 1, picture.size)
    cut = [
        Tile(side, side, places[row * columns + column], _share(row, column, rows, columns))
        for row in range(rows)
        for column in range(columns)
    ]
    return [*cut, Tile(side, side, places[-1], None)]


def _arrangement(tiles: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return into how many rows and columns a picture was cut: the processors keep its shape as well as they can."""
    shapes = [(rows, tiles // rows) for rows in range(1, tiles + 1) if tiles % rows == 0]
    return min(shapes, key=lambda shape: abs(shape[1] / shape[0] - size[0] / size[1]))


def _share(row: int, column: int, rows: int, columns: int) -> Box:
    return column / columns, row / rows, (column + 1) / columns, (row + 1) / rows


def _with_newlines(picture: Picture, vision: Vision) -> list[Tile]:
    sizes, base = picture.facts.get("image_sizes"), vision.side**2
    if sizes is None or len(sizes) != 2 or not vision.pinpoints or not base:
        return []
    rows, columns = _fine_grid((sizes[0], sizes[1]), vision)
    if base + rows * (columns + 1) != picture.tokens:
        return []
    fine = [base + row * (columns + 1) + column for row in range(rows) for column in range(columns)]
    whole = Tile(vision.side, vision.side, range(base), None)
    return [whole, Tile(rows, columns, fine, WHOLE)]


def _fine_grid(size: tuple[int, int], vision: Vision) -> tuple[int, int]:
    """Return rows and columns of the tokens of a canvas once its padding is taken off (LLaVA-NeXT, `unpad_image`)."""
    height, width = size
    canvas = _best_canvas(size, vision.pinpoints)
    rows, columns = (vision.side * (length // vision.tile) for length in canvas)
    if width / height > columns / rows:
        rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
    ratio = sqrt(rows * columns / (vision.most_tiles * vision.side**2)) if vision.most_tiles else 0
    return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def _best_canvas(size: tuple[int, int], canvases: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the canvas that shows most of a picture's pixels, and of equal ones the one with least padding."""
    height, width = size

    def rank(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[1] / width, canvas[0] / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        return shown, shown - canvas[0] * canvas[1]

    return max(canvases, key=rank)


KINDS: Mapping[str, Callable[[Picture, Vision], list[Tile]]] = {
    "square": _square,
    "merged": _merged,
    "lines": _lines,
    "tiles": _tiles,
    "newlines": _with_newlines,
}
