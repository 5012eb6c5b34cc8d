"""Pictures are judged by their header, before a pixel is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.image_check import ImageRefused, check_image
from eah_vllm_server.hardening.media.pixel_budget import PixelBudget
from PIL import Image

LIMITS = HTTPLimits()


def picture(format_: str, mode: str = "RGB", size: tuple[int, int] = (32, 24), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format_, **options)
    return buffer.getvalue()


def png_header(width: int, height: int, depth: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    """A PNG of any size, without its pixels or with anything in their place."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("WEBP", "RGB"),
        ("WEBP", "RGBA"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("PNG", "I;16"),
        ("JPEG", "CMYK"),
    ],
)
def test_ordinary_pictures_pass(format_: str, mode: str) -> None:
    assert check_image(picture(format_, mode), LIMITS) == (32, 24)


def test_pictures_of_a_camera_with_a_second_picture_inside_pass() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    assert Image.open(buffer).is_animated, "this must be a picture that calls itself several"
    assert check_image(buffer.getvalue(), LIMITS) == (64, 48)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_animated_pictures_are_refused(format_: str) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 90, 200)]
    frames[0].save(buffer, format_, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageRefused, match="animated"):
        check_image(buffer.getvalue(), LIMITS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png_header(8000, 8000), "50000000 pixels"),
        (png_header(20_000, 20_000), "pixels"),  # Pillow itself refuses to open these
        (png_header(2**31 - 1, 2**31 - 1), "pixels"),
        (png_header(0, 10), "not a picture|no pixels"),
        (png_header(1, 30_000), "longer"),
        (png_header(30_000, 1), "longer"),
        (picture("TIFF"), r"not a picture.*JPEG, PNG, WEBP, GIF, BMP\..* `magick in\.tif .* out\.png`"),
        (picture("ICO"), "not a picture"),
        (b"", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "not a picture"),
        (png_header(64, 64)[:20], "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%PDF-1.7", "not a picture"),
        (b"GIF89a", "not a picture"),
        (b"BM" + b"\xff" * 60, "not a picture"),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 ", "not a picture"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(ImageRefused, match=said):
        check_image(data, LIMITS)


def test_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    for format_ in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        monkeypatch.undo()
        data = picture(format_)
        module = type(Image.open(io.BytesIO(data)))
        monkeypatch.setattr(module, "load", decode)
        assert check_image(data, LIMITS) == (32, 24)
        with pytest.raises(AssertionError, match="decoded"):
            Image.open(io.BytesIO(data)).convert("L")


def test_limits_are_the_operators() -> None:
    data = picture("TIFF", "L", (300, 2))
    limits = HTTPLimits(image_formats=("TIFF",), image_aspect=150, image_pixels=600)
    assert check_image(data, limits) == (300, 2)
    for changed in ({"image_pixels": 599}, {"image_aspect": 149}, {"image_formats": ("PNG",)}):
        with pytest.raises(ImageRefused):
            check_image(data, limits.model_copy(update=changed))


def test_pixels_of_one_request_add_up() -> None:
    budget = PixelBudget(HTTPLimits(request_pixels=1000))
    budget.take(20, 30)
    with pytest.raises(ImageRefused, match="1000 pixels together"):
        budget.take(401, 1)
    budget.take(20, 20)


def test_pictures_of_one_request_are_counted_by_what_they_become() -> None:
    """Scaled to a fixed shorter side, a line of pixels is as large as many pictures."""
    budget = PixelBudget(HTTPLimits(request_pictures=10))
    for size in [(1, 1), (30, 10), (10, 40), (1, 16)]:
        budget.take(*size)
    budget.take(12, 1)
    with pytest.raises(ImageRefused, match=r"10 pictures \(eah_http.request_pictures\)"):
        budget.take(1, 1)
