"""The page of `eah-vllm inspect`: layers by heads, and heat maps over the picture, without network or script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from eah_vllm.evaluation.ask.inspection import spoken
from eah_vllm.inspector.ask import Looked
from eah_vllm.inspector.heat import sheets_of

LARGEST_SIDE = 640


def page_of(looked: Looked, picture: bytes, prompt: str, name: str) -> str:
    """Return the page as HTML.

    Args:
        looked: what the server said.
        picture: the file's bytes.
        prompt: what was asked about the picture.
        name: name of the picture.
    """
    answer = looked.answer
    shown, width, height = _shrunk(picture)
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("inspect.html.jinja")
    return template.render(
        answer=answer,
        prompt=prompt,
        name=name,
        date=datetime.now(UTC).date().isoformat(),
        picture=shown,
        width=width,
        height=height,
        num_heads=max((len(layer.get("heads", ())) for layer in answer["layers"]), default=0),
        grids=[_grid(answer, number) for number in range(len(answer["thresholds"]))],
        declined=[layer for layer in answer["layers"] if "reason" in layer],
        maps=[_map(answer, one) for one in sorted(looked.maps, key=lambda one: (one["layer"], one["head"]))],
        mapped={(one["layer"], one["head"]) for one in looked.maps if "images" in one},
    )


def _shrunk(picture: bytes) -> tuple[str, int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "jpeg", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), small.width, small.height


def _grid(answer: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the table of one threshold: a row for each layer, a cell for each head."""
    rows = [
        {
            "layer": layer["layer"],
            "source": layer["source_head"][number],
            "cells": [
                {"head": head["head"], "sinks": head["sinks"][number], "density": head["density"][number]}
                for head in layer["heads"]
            ],
        }
        for layer in answer["layers"]
        if "heads" in layer
    ]
    return {"name": spoken(answer["thresholds"][number]), "rows": rows}


def _map(answer: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map with what is drawn, and its head's sinks at each threshold."""
    layer = next(layer for layer in answer["layers"] if layer["layer"] == one["layer"])
    told = [spoken(threshold) for threshold in answer["thresholds"]]
    sinks: Sequence[tuple[str, int]] = ()
    if "heads" in layer:
        sinks = list(zip(told, layer["heads"][one["head"]]["sinks"], strict=True))
    return {
        "layer": one["layer"],
        "head": one["head"],
        "reason": one.get("reason"),
        "sinks": sinks,
        "sheets": sheets_of(one.get("images", ())),
        "unknown": any(picture.get("grid") is not None for picture in one.get("images", ())),
    }
