"""The answer to an inspection, as JSON data and as the schema that `/openapi.json` shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from eah_vllm.options import InspectOptions
from eah_vllm_server.inspect.grid import Vision, tiles_of
from eah_vllm_server.inspect.prompt import Picture, SeenPrompt


class HeadSeen(BaseModel):
    """One head of one layer."""

    head: int
    sinks: list[int] = Field(description="vision sinks at each threshold")
    density: list[float] = Field(description="their share of the image tokens")


class LayerSeen(BaseModel):
    """One layer; `reason` stands in the place of the other fields where EAH cannot act."""

    layer: int
    source_head: list[int | None] | None = Field(
        None, description="the head that EAH would choose at each threshold, null where no head has a sink"
    )
    heads: list[HeadSeen] | None = None
    reason: str | None = Field(None, description="why EAH cannot act in this layer")


class TileSeen(BaseModel):
    """A grid of image tokens, row by row from the top left corner."""

    rows: int
    columns: int
    received: list[float] = Field(description="mean attention that each token receives from later rows")
    box: list[float] | None = Field(
        None,
        description="left, top, right, bottom in shares of the picture; null: a thumbnail of all of it beside other "
        "tiles, or not known",
    )


class PictureSeen(BaseModel):
    """The tiles of one picture; `grid` is there where it is not known how the tokens lie over it."""

    image: int
    tiles: list[TileSeen]
    grid: str | None = None


class MapSeen(BaseModel):
    """The map of one head over the pictures."""

    layer: int
    head: int
    images: list[PictureSeen] | None = None
    reason: str | None = Field(None, description="why EAH cannot act in this layer")


class Inspection(BaseModel):
    """Answer of `POST /v1/eah/inspect`."""

    model: str
    prompt_tokens: int
    image_tokens: int
    thresholds: list[dict[str, float]] = Field(description="first `thresholds`, then `relative_thresholds`")
    layers: list[LayerSeen]
    map: MapSeen | None = Field(None, description="with `layer` and `head`")


def inspection(
    model: str,
    options: InspectOptions,
    seen: SeenPrompt,
    layers: Sequence[Mapping[str, Any]],
    grid: str,
    vision: Vision,
) -> dict[str, Any]:
    """Return the answer.

    Args:
        model: name of the model that was asked.
        options: options with which the engine inspected.
        seen: the prompt.
        layers: the engine's report on each layer (`Inspect.explain`), or the reason against it.
        grid: the family's kind of grid.
        vision: what is known about the model's pictures.
    """
    tokens = sum(picture.tokens for picture in seen.pictures)
    told = [{"threshold": value} for value in options.thresholds or ()]
    told += [{"relative_threshold": value} for value in options.relative_thresholds or ()]
    answer = {
        "model": model,
        "prompt_tokens": seen.tokens,
        "image_tokens": tokens,
        "thresholds": told,
        "layers": [_layer(layer, tokens) for layer in layers],
    }
    if options.layer is None:
        return answer
    at: dict[str, Any] = {"layer": options.layer, "head": options.head}
    of_layer = next(layer for layer in layers if layer["layer"] == options.layer)
    if "received" in of_layer:
        at["images"] = _pictures(seen.pictures, of_layer["received"], grid, vision)
    else:
        at["reason"] = of_layer["reason"]
    return answer | {"map": at}


def _layer(layer: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    if "sinks" not in layer:
        return {"layer": layer["layer"], "reason": layer["reason"]}
    heads = [
        {"head": head, "sinks": sinks, "density": [number / tokens for number in sinks]}
        for head, sinks in enumerate(layer["sinks"])
    ]
    return {"layer": layer["layer"], "source_head": layer["source_head"], "heads": heads}


def _pictures(
    pictures: Sequence[Picture], received: Sequence[float], grid: str, vision: Vision
) -> list[dict[str, Any]]:
    found, start = [], 0
    for number, picture in enumerate(pictures):
        mine = received[start : start + picture.tokens]
        start += picture.tokens
        tiles = tiles_of(grid, picture, vision)
        if tiles is None:
            unknown = {"rows": 1, "columns": picture.tokens, "received": list(mine), "box": None}
            found.append({"image": number, "tiles": [unknown], "grid": "unknown"})
            continue
        laid = [
            {
                "rows": tile.rows,
                "columns": tile.columns,
                "received": [mine[place] for place in tile.places],
                "box": None if tile.box is None else list(tile.box),
            }
            for tile in tiles
        ]
        found.append({"image": number, "tiles": laid})
    return found
