"""The page of `eah-vllm inspect`: what it shows of an answer, and that it needs neither network nor script."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image

from eah_vllm.inspector.ask import Looked
from eah_vllm.inspector.heat import DARKEST, sheets_of
from eah_vllm.inspector.page import page_of


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1200, 600), "red").save(buffer, "png")
    return buffer.getvalue()


def tile(received: list[float], columns: int, box: list[float] | None) -> dict[str, Any]:
    return {"rows": len(received) // columns, "columns": columns, "received": received, "box": box}


HEADS = [{"head": 0, "sinks": [1, 0], "density": [0.25, 0.0]}, {"head": 1, "sinks": [3, 0], "density": [0.75, 0.0]}]
ANSWER = {
    "model": "tiny", "prompt_tokens": 9, "image_tokens": 4,
    "thresholds": [{"relative_threshold": 1.5}, {"threshold": 0.9}],
    "layers": [{"layer": 0, "source_head": [1, None], "heads": HEADS}, {"layer": 1, "reason": "sliding window"}],
}  # fmt: skip
MAPS = [
    {"layer": 0, "head": 1, "images": [{"image": 0, "tiles": [tile([0.1, 0.2, 0.4, 0.0], 2, [0, 0, 1, 0.5])]}]},
    {"layer": 1, "head": 0, "reason": "sliding window"},
]


def test_what_it_shows() -> None:
    page = page_of(Looked(ANSWER, MAPS), png(), "What <is> it?", "a & b.png")
    assert "What &lt;is&gt; it?" in page
    assert "a &amp; b.png" in page
    assert "Vision sinks at threshold 1.5/S" in page
    assert "Vision sinks at threshold 0.9" in page
    assert "layer 1: sliding window" in page
    (source,) = re.findall(r'<td class="source"[^>]*title="([^"]*)"', page)
    assert source == "layer 0, head 1: 3 of 4"
    assert re.findall(r'<a href="#([^"]*)">(\d+)</a>', page) == [("map-0-1", "3"), ("map-0-1", "0")]
    assert 'id="map-0-1"' in page
    assert "3 sinks at 1.5/S; 0 sinks at 0.9" in page
    assert "aspect-ratio: 640 / 320" in page


def test_it_needs_neither_network_nor_script() -> None:
    page = page_of(Looked(ANSWER, MAPS), png(), "What is it?", "a.png")
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.findall(r"url\((?!data:)", page)


def test_heat() -> None:
    (sheet,) = sheets_of(MAPS[0]["images"])  # type: ignore[arg-type]
    (heat,) = sheet.tiles
    assert (heat.left, heat.top, heat.width, heat.height) == (0, 0, 100, 50)
    drawn = Image.open(io.BytesIO(base64.b64decode(heat.url.partition(",")[2])))
    assert drawn.size == (2, 2)
    opacity = [pixel[3] for pixel in drawn.get_flattened_data()]
    assert opacity == pytest.approx([DARKEST * 0.5, DARKEST * 0.5**0.5, DARKEST, 0], abs=1)


def test_thumbnails_lie_over_a_picture_of_their_own_and_unknown_grids_over_none() -> None:
    whole, part = tile([0.1] * 4, 2, None), tile([0.3] * 4, 2, [0, 0, 1, 1])
    assert [sheet.thumbnail for sheet in sheets_of([{"image": 0, "tiles": [whole, part]}])] == [False, True]
    unknown = {"image": 0, "tiles": [tile([0.1] * 4, 4, None)], "grid": "unknown"}
    assert sheets_of([unknown]) == []
    maps = [{"layer": 0, "head": 1, "images": [unknown]}]
    assert "It is not known how" in page_of(Looked(ANSWER, maps), png(), "?", "a.png")
