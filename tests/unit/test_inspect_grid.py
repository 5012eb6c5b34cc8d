"""How a picture's tokens lie over it: from what vLLM's processors say of it, against Hugging Face's processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eah_vllm_server.inspect.grid import Tile, Vision, tiles_of, vision_of
from eah_vllm_server.inspect.prompt import Picture, SeenPrompt
from PIL import Image
from transformers import AutoConfig, AutoProcessor
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.modeling_llava_next import unpad_image
from vllm.config import ModelConfig
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import ProcessorInputs, TimingContext

from eah_vllm.models import MODELS
from tests.models.families import FAMILIES
from tests.models.family import Family, folder_to_serve, make_checkpoint

SIZES = WIDE, HIGH, SQUARE, FLAT = (168, 84), (90, 140), (100, 100), (260, 90)


NAMES = ["LLaVA-1.5", "LLaVA-NeXT, Vicuna", "LLaVA-OneVision", "Qwen2-VL", "Qwen3-VL", "GLM-4.1V", "InternVL"]
NAMES += ["InternVL, original", "Idefics3", "Mistral 3", "Command A Vision", "BLIP-2"]


@pytest.fixture(scope="module", params=NAMES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def checkpoint(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(family, tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def seen(family: Family, checkpoint: Path) -> Callable[[Image.Image], Picture]:
    """What an inspection sees of a picture in a prompt that vLLM's processor has made."""
    path, code = str(folder_to_serve(family, checkpoint)), family.remote_code
    processor = MULTIMODAL_REGISTRY.create_processor(ModelConfig(path, dtype="float32", trust_remote_code=code))

    def look(picture: Image.Image) -> Picture:
        items = processor.info.parse_mm_data({"image": [picture]})
        tokens = processor.info.get_tokenizer().encode(f"USER: {family.image} ASSISTANT:")
        made = processor.apply(ProcessorInputs(tokens, items), TimingContext())
        prompt = SeenPrompt(["image"], 100_000)
        prompt.look(made)
        (found,) = prompt.pictures
        return Picture(found.modality, found.runs, found.facts, picture.size)

    return look


def test_grids(family: Family, checkpoint: Path, seen: Callable[[Image.Image], Picture]) -> None:
    config, processor = AutoConfig.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    vision = vision_of(config, processor.image_processor)
    kind = MODELS[family.architecture].grid
    for size in SIZES:
        picture = seen(Image.new("RGB", size))
        tiles = tiles_of(kind, picture, vision)
        if family.architecture == "Blip2ForConditionalGeneration":
            assert tiles is None, "a Q-Former's tokens lie nowhere"
            continue
        assert tiles is not None, (size, picture)
        places = [place for tile in tiles for place in tile.places]
        assert len(set(places)) == len(places) == sum(tile.rows * tile.columns for tile in tiles)
        EXPECTED[kind](tiles, picture, size, vision, processor)


def _square(tiles: list[Tile], picture: Picture, size: tuple[int, int], vision: Vision, processor: Any) -> None:
    """What is in the box, and nothing else, is in the pixels."""
    (tile,) = tiles
    assert (tile.rows, tile.columns, picture.tokens) == (4, 4, 16)
    assert tile.box is not None
    outside = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    left, top, right, bottom = (round(share * size[idx % 2]) for idx, share in enumerate(tile.box))
    outside[top:bottom, left:right] = 0
    pixels = processor.image_processor(Image.fromarray(outside), return_tensors="pt")["pixel_values"][0]
    inner = pixels[:, 2:-2, 2:-2]  # resampling mixes the edge
    assert float(inner.amax()) < 0 or size == SQUARE
    assert (tile.box == (0, 0, 1, 1)) == (size == SQUARE)


def _merged(tiles: list[Tile], picture: Picture, size: tuple[int, int], vision: Vision, processor: Any) -> None:
    made = processor.image_processor(Image.new("RGB", size), return_tensors="pt")
    _, height, width = made["image_grid_thw"][0].tolist()
    assert [(tile.rows, tile.columns, tile.box) for tile in tiles] == [(height // 2, width // 2, (0, 0, 1, 1))]
    assert (width > height) == (size[0] > size[1])


def _lines(tiles: list[Tile], picture: Picture, size: tuple[int, int], vision: Vision, processor: Any) -> None:
    (tile,) = tiles
    made = processor.image_processor(Image.new("RGB", size), return_tensors="pt")
    height, width = (int(length) for length in made["image_sizes"][0])
    assert (tile.rows, tile.columns, tile.box) == (height // 28, width // 28, (0, 0, 1, 1))


def _tiles(tiles: list[Tile], picture: Picture, size: tuple[int, int], vision: Vision, processor: Any) -> None:
    """A picture of greys, a darker one in each box, comes out of Hugging Face's processor tile by tile."""
    if len(tiles) == 1:
        assert tiles[0].box == (0, 0, 1, 1)
        return
    *cut, thumbnail = tiles
    assert thumbnail.box is None
    painted = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for number, tile in enumerate(cut):
        assert tile.box is not None
        left, top, right, bottom = (round(share * size[idx % 2]) for idx, share in enumerate(tile.box))
        painted[top:bottom, left:right] = 255 - number * (200 // len(cut))
    made = processor.image_processor([[Image.fromarray(painted)]], return_tensors="pt")["pixel_values"]
    pixels = made.reshape(-1, *made.shape[-3:])
    assert len(pixels) == len(tiles)
    assert [tile.places[0] for tile in tiles] == list(range(0, picture.tokens, picture.tokens // len(tiles)))
    middles = pixels[:, 0, 20:36, 20:36]
    shown = middles[:-1].mean(dim=(1, 2))
    assert shown.tolist() == sorted(shown.tolist(), reverse=True), "tiles are in another order"
    assert float(middles[:-1].std(dim=(1, 2)).amax()) < 0.05, "a tile shows more than its box"


def _with_newlines(tiles: list[Tile], picture: Picture, size: tuple[int, int], vision: Vision, processor: Any) -> None:
    whole, fine = tiles
    assert (whole.rows, whole.columns, whole.box, fine.box) == (4, 4, None, (0, 0, 1, 1))
    height, width = select_best_resolution((size[1], size[0]), list(vision.pinpoints))
    canvas = torch.zeros(1, height // 14, width // 14)
    assert (fine.rows, fine.columns) == tuple(unpad_image(canvas, (size[1], size[0])).shape[1:])
    newlines = set(range(16, picture.tokens)) - set(fine.places)
    assert newlines == {16 + (row + 1) * (fine.columns + 1) - 1 for row in range(fine.rows)}


EXPECTED: dict[str, Callable[..., None]] = {
    "square": _square, "merged": _merged, "lines": _lines, "tiles": _tiles, "newlines": _with_newlines,
}  # fmt: skip


def test_what_does_not_add_up_is_no_grid() -> None:
    for kind in EXPECTED:
        assert tiles_of(kind, Picture("image", (7, 4), {"image_grid_thw": [1, 4, 6]}, WIDE), Vision(4, 56, 2)) is None
        assert tiles_of(kind, Picture("video", (16,), {"image_grid_thw": [1, 8, 8]}, WIDE), Vision(4, 56, 2)) is None
    assert tiles_of("unknown", Picture("image", (16,)), Vision()) is None
