"""Pictures of which vLLM shows what an eye sees: they stay as vLLM reads them, and are decoded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from vllm.multimodal.hasher import MultiModalHasher
from vllm.multimodal.media.image import ImageMediaIO

from tests.unit.picture_files import GREY, PALETTE, png
from tests.unit.seen_pictures import load, random, saved

PLAIN = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "QOI": ("RGB", "RGBA"),
}
KINDS = [(kind, mode) for kind, modes in PLAIN.items() for mode in modes]


def file(kind: str, mode: str, **options: Any) -> bytes:
    noise = random(24, 40, 4).astype(np.uint8)
    image = Image.fromarray(noise, "RGBA")
    return saved((image.convert("RGB") if mode == "P" else image).convert(mode), kind, **options)


def lying() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 5
    return exif


FILES = {f"{kind} {mode}": file(kind, mode) for kind, mode in KINDS} | {
    "GIF with a transparent shade": file("GIF", "L", transparency=200),
    "GIF with a transparent colour": file("GIF", "P", transparency=3),
    "PNG with a transparent colour in its palette": file("PNG", "P", transparency=3),
    "PNG with a palette of transparencies": png(
        random(9, 16), PALETTE, 8, PLTE=random(256, 3).astype(np.uint8).tobytes(), tRNS=bytes(range(256))
    ),
    "PNG of 4 bits": png(random(9, 16, bits=4), GREY, 4),
    "progressive JPEG that lies": file("JPEG", "RGB", progressive=True, exif=lying()),
}


@pytest.mark.parametrize("options", [{}, {"image_mode": None}, {"rgba_background_color": [0, 90, 255]}], ids=str)
@pytest.mark.parametrize("name", FILES)
def test_they_are_bit_for_bit_what_vllm_reads(name: str, options: dict[str, Any]) -> None:
    ours, theirs = load(FILES[name], **options), ImageMediaIO(**options).load_bytes(FILES[name])
    assert (ours.media.mode, ours.media.size) == (theirs.media.mode, theirs.media.size)
    assert ours.media.tobytes() == theirs.media.tobytes()
    assert (ours.original_bytes, ours.io_config) == (theirs.original_bytes, theirs.io_config)
    assert MultiModalHasher.hash_kwargs("sha256", image=ours) == MultiModalHasher.hash_kwargs("sha256", image=theirs)


def test_a_transparent_shade_of_8_bits_is_shown_as_by_vllm() -> None:
    data = png(random(9, 16), GREY, 8, [int(random(9, 16)[0, 0])])
    ours, theirs = load(data), ImageMediaIO().load_bytes(data)
    assert (ours.media.mode, ours.media.tobytes()) == (theirs.media.mode, theirs.media.tobytes())
    assert MultiModalHasher.hash_kwargs("sha256", image=ours) == MultiModalHasher.hash_kwargs("sha256", image=theirs)


@pytest.mark.parametrize("name", FILES)
def test_they_are_decoded_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    load_prepare = ImageFile.ImageFile.load_prepare

    def counted(image: ImageFile.ImageFile) -> None:
        decoded.append(image)
        load_prepare(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counted)
    load(FILES[name])
    assert len(decoded) == 1
