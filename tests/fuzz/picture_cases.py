"""Pictures that are broken, odd, or no pictures at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.fuzz.case import FINE, Case, as_json, show
from tests.fuzz.pictures import END, encode, png, scene, turned, url

FORMATS = ("png", "jpeg", "gif", "webp", "bmp", "tiff", "ppm", "jpeg2000", "ico", "tga", "pcx", "qoi", "avif")
SAYS_PICTURE = ("image",)
SEEN = "every pixel can be shown"


def picture(name: str, category: str, make: Any, media_type: str = "image/png", **more: Any) -> Case:
    """A request that shows the bytes `make`, or what it returns."""

    def body() -> bytes:
        return as_json(show(url(make() if callable(make) else make, media_type)))

    return Case(f"{category}: {name}", category, body, **({"mentions": SAYS_PICTURE} | more))


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _truncated()
    yield from _fine()
    yield from _not_shown()


def _truncated() -> Iterator[Case]:
    for kind in FORMATS:
        whole = encode(scene(), kind)
        yield picture(f"half of a {kind}", "truncated", whole[: len(whole) // 2])
    whole, rng = png(), random.Random(0)
    for at in (0, 1, 4, 7, 8, 16, 20, 32, 33, 40, 60):
        yield picture(f"{at} bytes of a png", "truncated", whole[:at])
    jpeg = encode(scene(), "jpeg")
    for at in (2, 3, 10, 30, 200):
        yield picture(f"{at} bytes of a jpeg", "truncated", jpeg[:at], "image/jpeg")
    for at in sorted(rng.sample(range(100, len(whole) - 200), 5)):
        yield picture(f"{at} bytes of a png, chosen at random", "truncated", whole[:at])
    yield picture("a png without its end", "truncated", whole[: -len(END)], expect=FINE, why=SEEN)
    yield picture("a jpeg without its last 40 bytes", "truncated", jpeg[:-40], "image/jpeg")
    yield picture("a png and rubbish", "truncated", whole + b"\x00" * 1000, expect=FINE, why=SEEN, same_answer=True)


def _fine() -> Iterator[Case]:
    """Odd, but what a user would call a picture; the answer to a lossless one must be the good picture's."""
    same = {"expect": FINE, "same_answer": True}
    for orientation in range(1, 9):
        yield picture(f"EXIF orientation {orientation}", "fine", turned(orientation), why="shown upright", **same)
    yield picture("palette png", "fine", encode(scene().quantize(64, dither=Image.Dither.NONE), "png"), **same)
    yield picture("bmp", "fine", encode(scene(), "bmp"), "image/bmp", **same)
    yield picture(
        "lossless webp called a png",
        "fine",
        encode(scene(), "webp", lossless=True),
        why="many clients write one type for all",
        **same,
    )
    yield picture("opaque RGBA", "fine", encode(scene().convert("RGBA"), "png"), **same)
    yield picture("gif of one frame", "fine", encode(scene().quantize(64, dither=Image.Dither.NONE), "gif"), **same)
    yield picture("progressive jpeg", "fine", encode(scene(), "jpeg", progressive=True), "image/jpeg", expect=FINE)
    yield picture("transparent palette", "fine", encode(scene().quantize(8), "png", transparency=0), expect=FINE)
    for mode in ("1", "L", "LA"):
        yield picture(f"{mode} png", "fine", encode(scene().convert("L").convert(mode), "png"), expect=FINE, why=SEEN)
    yield from _deep_and_printed()
    for size in ((1, 1), (1, 2), (3, 200), (2000, 1500)):
        image = scene().resize(size)
        yield picture(f"{size[0]} x {size[1]}", "fine", encode(image, "png"), expect=FINE, why="small enough to show")


def _deep_and_printed() -> Iterator[Case]:
    grey = np.asarray(scene().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    yield picture("16-bit png", "fine", encode(deep, "png"), expect=FINE, why="scaled, not clipped to white")
    keyed = encode(scene(), "png", transparency=scene().getpixel((0, 0)))
    yield picture("png with a transparent colour", "fine", keyed, expect=FINE, why="shown on white")
    cmyk = scene().convert("CMYK")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("no", b""), ("a broken", b"\xff" * 3000), ("a cut", srgb[:300]), ("another", srgb)):
        file = encode(cmyk, "jpeg", icc_profile=profile)
        yield picture(f"CMYK jpeg with {name} profile", "fine", file, "image/jpeg", expect=FINE, why="shown plainly")


def _not_shown() -> Iterator[Case]:
    """Pictures that the server could show only in part, or in other colours: it says so instead."""
    other = scene().transpose(Image.Transpose.ROTATE_90)
    for kind in ("gif", "webp", "png", "tiff"):
        frames = {"save_all": True, "append_images": [other] * 3, "duration": 50, "loop": 0}
        yield picture(
            f"animated {kind}",
            "not shown",
            encode(scene(), kind, **frames),
            f"image/{kind}",
            why="which frame is meant? (SECURITY.md: send one)",
        )
    colours = "its colours would not be the ones that its maker saw"
    grey = np.asarray(scene().convert("L"))
    yield picture("CMYK tiff", "not shown", encode(scene().convert("CMYK"), "tiff"), "image/tiff", why=colours)
    yield picture("float tiff", "not shown", encode(Image.fromarray(grey.astype(np.float32)), "tiff"), why=colours)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(scene(), to_lab)
    yield picture("LAB tiff", "not shown", encode(lab, "tiff"), "image/tiff", why=colours)
    for kind in ("tiff", "tga", "ico", "ppm", "jpeg2000", "pcx"):
        yield picture(
            f"whole {kind}",
            "not shown",
            encode(scene(), kind),
            f"image/{kind}",
            why="a format that this server does not read unless told to (eah_http.image_formats)",
        )
