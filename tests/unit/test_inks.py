"""Pictures in the colours of printers and of measuring devices, against formulas that are written down here."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from vllm.exceptions import VLLMValidationError

from tests.unit.picture_files import cmyk_profile, tiff
from tests.unit.seen_pictures import Pixels, load, random, saved, seen

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def plain_rgb(inks: Pixels) -> Pixels:
    return (255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) / 255


def smooth_inks() -> Pixels:
    """Mixtures that a JPEG keeps within a few levels."""
    down, right = np.mgrid[0:64, 0:64] * 4
    return np.dstack([down, right, 255 - down, right // 2]).astype(np.uint8)


def cmyk_jpeg(inks: Pixels, **options: Any) -> bytes:
    return saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0, **options)


def test_cmyk_pictures_are_shown() -> None:
    inks = smooth_inks()
    for kind in ("JPEG", "TIFF"):
        file = cmyk_jpeg(inks) if kind == "JPEG" else saved(Image.fromarray(inks, "CMYK"), "TIFF")
        assert np.abs(seen(file) - plain_rgb(inks.astype(int))).max() <= 4


def test_jpegs_of_inks_that_adobe_programs_write_are_shown() -> None:
    """They store 255 minus ink, and 255 minus that again as luminance and colour difference (YCCK)."""
    inks = smooth_inks()
    red, green, blue = (inks[:, :, band].astype(float) for band in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ycck = [luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma), 255.0 - inks[:, :, 3]]
    # Pillow stores 255 minus what it is given, without a change of colours, and says so behind the word Adobe.
    file = cmyk_jpeg(255 - np.dstack(ycck).round().clip(0, 255).astype(np.uint8))
    transform = file.index(b"Adobe") + 11
    assert file[transform] == 0
    ycck_file = file[:transform] + b"\2" + file[transform + 1 :]
    assert np.abs(seen(ycck_file) - plain_rgb(inks.astype(int))).max() <= 6


MIXTURES = list(itertools.product((0, 1), repeat=4))
LOOKS: dict[tuple[int, ...], tuple[float, float, float]] = {
    (c, m, y, k): (20 * (5 - c - m - y - 2 * k), 12 * (m - c), 14 * (y - c)) for c, m, y, k in MIXTURES
}


def srgb_of(lightness: float, a: float, b: float) -> list[int]:
    """The sRGB values of a colour under D50, by the formulas of CIE and of IEC 61966-2-1 (Bradford to D65)."""
    middle = (lightness + 16) / 116
    ratios = np.array([middle + a / 500, middle, middle - b / 200])
    xyz = np.array([0.9642, 1.0, 0.8249]) * np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29))
    matrix = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = (np.array(matrix) @ xyz).clip(0, 1)
    return [round(v) for v in 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_an_embedded_profile_says_what_inks_look_like(kind: str) -> None:
    inks = np.repeat(np.array(MIXTURES, np.uint8) * 255, 8, axis=0)[None].repeat(8, axis=0)
    picture = Image.fromarray(inks, "CMYK")
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    shown = seen(saved(picture, kind, icc_profile=cmyk_profile(LOOKS), **options))
    expected = np.array([srgb_of(*LOOKS[mixture]) for mixture in MIXTURES])
    assert np.abs(shown[4, 4::8] - expected).max() <= 4
    assert np.abs(expected - plain_rgb(inks.astype(int))[4, 4::8]).max() > 50, "the plain formula says the same"


def test_a_profile_that_cannot_be_used_is_none() -> None:
    inks = smooth_inks()
    plain, profile = seen(cmyk_jpeg(inks)), cmyk_profile(LOOKS)
    assert (seen(cmyk_jpeg(inks, icc_profile=profile)) != plain).any()
    without_table = profile.replace(b"A2B0", b"none")
    unnamed = profile.replace(b"CMYK", b"\xff\xfeYK", 1)
    for broken in (unnamed, b"no profile", profile[:200], profile[:130], without_table, SRGB):
        assert (seen(cmyk_jpeg(inks, icc_profile=broken)) == plain).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_profiles_of_other_pictures_are_ignored(mode: str) -> None:
    wide = bytearray(SRGB)
    red = SRGB.index(b"rXYZ", 128)
    at = int.from_bytes(SRGB[red + 4 : red + 8], "big") + 8
    wide[at : at + 4] = (0x0000C000).to_bytes(4, "big")  # a red beyond that of sRGB
    picture = Image.fromarray(random(9, 16, 3).astype(np.uint8)).convert(mode)
    assert (seen(saved(picture, "PNG", icc_profile=bytes(wide))) == seen(saved(picture, "PNG"))).all()


def test_lab_pictures_are_shown() -> None:
    colours = [(60, 30, -20), (90, -10, 40), (20, 0, 0), (100, 0, 0)]
    stored = np.array([[[round(lightness * 2.55), a % 256, b % 256] for lightness, a, b in colours]], np.uint16)
    expected = np.array([srgb_of(*colour) for colour in colours])
    assert np.abs(seen(tiff(stored, 8, 8)) - expected).max() <= 3


def test_ycbcr_pictures_are_shown() -> None:
    values = smooth_inks()[:, :, :3].astype(np.uint16)
    luma, blue, red = (values[:, :, band].astype(float) for band in range(3))
    rgb = [luma + 1.402 * (red - 128), luma - 0.344 * (blue - 128) - 0.714 * (red - 128), luma + 1.772 * (blue - 128)]
    assert np.abs(seen(tiff(values, 6, 8)) - np.dstack(rgb).clip(0, 255)).max() <= 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_that_do_not_say_what_is_white_are_refused(mode: str) -> None:
    with pytest.raises(VLLMValidationError, match=rf"mode {mode} .*`magick in\.tif -auto-level .*out\.png`"):
        load(saved(Image.new(mode, (8, 8)), "TIFF"))
