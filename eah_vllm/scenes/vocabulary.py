"""Reads `world.yaml`: the colours, themes and kinds of object of the world of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RGB = tuple[int, int, int]

_DATA_FILE = Path(__file__).with_name("world.yaml")
_PRIMITIVES = {"polygon", "rectangle", "ellipse", "arc", "line"}
_SHADES = {"main", "dark", "light", "clear"}


class WorldError(ValueError):
    """`world.yaml` is inconsistent; the message names the entry."""


@dataclass(frozen=True)
class Kind:
    """One kind of object: what it looks like and where it stands."""

    colours: tuple[str, ...]
    zone: tuple[float, float]
    size: float
    shape: tuple[dict[str, Any], ...]
    partner: str | None = None
    habit: float = 0.0


@dataclass(frozen=True)
class Theme:
    """One kind of scene: its background and what may appear in it."""

    sky: RGB
    ground: RGB
    anchors: tuple[str, ...]
    others: tuple[str, ...]
    decor: tuple[dict[str, Any], ...] = ()


def load_world(path: Path = _DATA_FILE) -> tuple[dict[str, RGB], dict[str, Theme], dict[str, Kind]]:
    """Read colours, themes and kinds of object.

    Raises:
        WorldError: the file uses a name that is not defined, or a value is out of range.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    colours: dict[str, RGB] = {name: tuple(rgb) for name, rgb in data["colours"].items()}
    themes = {name: Theme(**_tuples(fields)) for name, fields in data["themes"].items()}
    kinds = {name: Kind(**_tuples(fields)) for name, fields in data["objects"].items()}
    _check(colours, themes, kinds)
    return colours, themes, kinds


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def _check(colours: dict[str, RGB], themes: dict[str, Theme], kinds: dict[str, Kind]) -> None:
    def need(condition: bool, message: str) -> None:
        if not condition:
            raise WorldError(message)

    for name, rgb in colours.items():
        need(len(rgb) == 3 and all(0 <= v <= 255 for v in rgb), f"colour {name}: not an RGB triple: {rgb}")
    for name, theme in themes.items():
        unknown = {*theme.anchors, *theme.others} - set(kinds)
        need(not unknown, f"theme {name}: unknown objects {sorted(unknown)}")
    for name, kind in kinds.items():
        unknown = set(kind.colours) - set(colours)
        need(
            bool(kind.colours) and not unknown,
            f"object {name}: colours must be some of {sorted(colours)}, not {sorted(unknown)}",
        )
        need(kind.partner is None or kind.partner in kinds, f"object {name}: unknown partner {kind.partner}")
        need(0 <= kind.habit <= 1, f"object {name}: habit must be within 0..1, not {kind.habit}")
        need(0 <= kind.zone[0] < kind.zone[1] <= 1, f"object {name}: zone must rise within 0..1, not {kind.zone}")
        for primitive in kind.shape:
            need(
                len(_PRIMITIVES & set(primitive)) == 1,
                f"object {name}: one of {sorted(_PRIMITIVES)} needed in {primitive}",
            )
            fill = primitive.get("fill")
            need(
                isinstance(fill, list) or fill in _SHADES,
                f"object {name}: fill must be RGB or one of {sorted(_SHADES)}: {fill}",
            )


COLOURS, THEMES, KINDS = load_world()
NAMES = tuple(KINDS)
PARTNER = {name: kind.partner for name, kind in KINDS.items() if kind.partner}
