"""Pictures come out as an eye sees them: files of known values against arithmetic on these values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.picture_files import COLOUR, COLOUR_ALPHA, GREY, GREY_ALPHA, PALETTE, png, tiff
from tests.unit.seen_pictures import as_rgb, load, on_white, random, saved, seen

ROTATE = 6  # the EXIF orientation of a picture that is turned clockwise to be upright


# Transparency


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_shade_of_a_grey_png_is_white(depth: int) -> None:
    values = random(9, 16, bits=depth)
    key = int(values[values > 0][0])
    shades = values >> 8 if depth == 16 else values * (255 // ((1 << depth) - 1))
    expected = np.where(values == key, 255, shades)
    assert (seen(png(values, GREY, depth, [key])) == as_rgb(expected)).all()
    assert (seen(png(values, GREY, depth)) == as_rgb(shades)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_a_png_is_white(depth: int) -> None:
    values = random(9, 16, 3, bits=depth)
    key = values[4, 4]
    values[:, 1] = key + np.array([1, 0, 0])  # alike in the upper byte if there are two
    values[:, 2] = key
    shades = values >> (depth - 8)
    expected = np.where((values == key).all(axis=2)[:, :, None], 255, shades)
    assert (expected[:, 2] == 255).all()
    assert (expected[:, 1] != 255).any()
    assert (seen(png(values, COLOUR, depth, [int(value) for value in key])) == expected).all()
    assert (seen(png(values, COLOUR, depth)) == shades).all()


def test_a_transparent_colour_is_put_on_the_background_that_is_asked_for() -> None:
    file = png(np.array([[[10, 20, 30], [1, 2, 3]]], np.uint16), COLOUR, 8, [10, 20, 30])
    red = load(file, rgba_background_color=[255, 0, 0])
    assert [red.media.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (1, 2, 3)]
    assert load(file, image_mode=None).media.mode == "RGBA"
    assert red.io_config != load(file).io_config, "the caches would take one for the other"


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_channels_are_shown_on_white(depth: int) -> None:
    for kind, channels in ((GREY_ALPHA, 1), (COLOUR_ALPHA, 3)):
        values = random(9, 16, channels + 1, bits=depth)
        shades = values >> (depth - 8)
        colours = as_rgb(shades[:, :, 0]) if channels == 1 else shades[:, :, :3]
        expected = on_white(colours, shades[:, :, -1])
        assert np.abs(seen(png(values, kind, depth)) - expected).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_palettes_are_shown_on_white(depth: int) -> None:
    values = random(9, 16, bits=depth)
    colours, alpha = random(1 << depth, 3), random(1 << depth)
    chunks = {"PLTE": colours.astype(np.uint8).tobytes(), "tRNS": alpha.astype(np.uint8).tobytes()}
    expected = on_white(colours[values], alpha[values])
    assert np.abs(seen(png(values, PALETTE, depth, **chunks)) - expected).max() <= 1


def test_colours_that_were_multiplied_by_their_transparency_are_shown_on_white() -> None:
    alpha = np.maximum(random(9, 16), 1)
    for channels, photometric in ((1, 1), (3, 2)):
        colours = random(9, 16, channels) * alpha[:, :, None] // 255
        file = tiff(np.dstack([colours, alpha]), photometric, 8, t338=1)
        expected = np.broadcast_to(colours + 255 - alpha[:, :, None], (9, 16, 3))
        assert np.abs(seen(file) - expected).max() <= 2


# More than 8 bits


def test_16_bit_grey_is_scaled_and_never_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    scaled = seen(png(values, GREY, 16))
    assert np.abs(scaled[:, :, 0] - values / 257).max() < 1
    assert (scaled == as_rgb(values >> 8)).all()
    assert (scaled == seen(png(as_rgb(values), COLOUR, 16))).all(), "grey is no lighter in colour"
    assert (seen(saved(Image.fromarray(values), "PNG")) == scaled).all()
    assert (seen(b"P5 256 256 65535\n" + values.astype(">u2").tobytes()) == scaled).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiffs_are_scaled(order: str) -> None:
    values = random(9, 16, bits=16)
    assert (seen(tiff(values, 1, 16, order)) == as_rgb(values >> 8)).all()
    if order == "<":
        assert (seen(tiff(values, 0, 16)) == as_rgb(255 - (values >> 8))).all(), "here 0 is white"
        assert (seen(tiff(values >> 4, 1, 12)) == as_rgb(values >> 8)).all()


# Upright, once


UPRIGHT = {
    "PNG": {"RGB", "RGBA", "L", "LA", "P", "1", "I;16"},
    "JPEG": {"RGB", "L", "CMYK"},
    "WEBP": {"RGB", "RGBA"},
    "TIFF": {"RGB", "L", "P", "CMYK", "LAB", "YCbCr", "I;16"},
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in UPRIGHT.items() for mode in sorted(modes)])
def test_pictures_of_every_mode_are_turned_upright_once(kind: str, mode: str) -> None:
    """A picture that is lighter at its right half and stored lying is shown with the lighter half below."""
    grey = np.full((16, 32), 40, np.uint8)
    grey[:, 16:] = 220
    flat = Image.fromarray(grey)
    stored = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else _in_mode(flat, mode)
    exif = Image.Exif()
    exif[0x0112] = ROTATE
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    shown = seen(saved(stored, kind, exif=exif, **options))
    assert shown.shape == (32, 16, 3)
    assert shown[16:].mean() > shown[:16].mean() + 100


def _in_mode(grey: Image.Image, mode: str) -> Image.Image:
    return grey.convert("RGB").convert(mode) if mode in ("CMYK", "LAB", "YCbCr", "RGBA", "P") else grey.convert(mode)


def test_a_transparent_colour_of_16_bits_is_found_in_a_picture_that_lies() -> None:
    values = random(4, 8, 3, bits=16)
    exif = Image.Exif()
    exif[0x0112] = ROTATE
    key = [int(value) for value in values[1, 2]]
    expected = values >> 8
    expected[1, 2] = 255
    file = png(values, COLOUR, 16, key, eXIf=exif.tobytes().removeprefix(b"Exif\0\0"))
    assert (seen(file) == np.rot90(expected, -1)).all()
