"""Turns what a picture file holds into 8-bit pixels as an eye sees them, where Pillow alone would not.

vLLM converts the result to the mode that it wants, and puts transparency on its background colour (white).
"""

from functools import reduce
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageChops, ImageCms, TiffImagePlugin
from vllm.multimodal.image import normalize_image

PLAIN = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"})
"""Modes of Pillow that its own conversion to RGB shows as an eye sees them."""
DEEP = frozenset({"I;16", "I;16B"})
"""Grey in 16 bits. Pillow clips it: all but the darkest 256 shades become white."""
ODD = frozenset({"CMYK", "LAB", "La", "RGBa"})
"""Modes for inks, for a colour space that no display has, and for colours multiplied by their transparency."""
SIXTEEN_BITS = 1 << 16
PNG_DEPTH = 24  # the byte of a PNG file that says how many bits a sample has
TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262


class Origin(NamedTuple):
    """What the file says about its values; Pillow drops this when it turns a picture upright."""

    kind: str | None
    """Format of the file, by Pillow's name."""
    depth: int
    """Bits per value, for PNG and TIFF."""
    white_is_zero: bool


def decode(data: bytes, formats: tuple[str, ...]) -> tuple[Image.Image, Origin]:
    """Decode a picture and turn it upright as its EXIF data say; each pixel is decoded once.

    Raises:
        Exception: whatever broken data lead Pillow to raise.
    """
    image = Image.open(BytesIO(data), formats=formats)
    # vLLM turns pictures upright under `suppress(Exception)`, which hides that a PNG is broken: decoding it a second
    # time gives black pixels. Decoding it here first raises that error.
    image.load()
    depth, white_is_zero = data[PNG_DEPTH] if image.format == "PNG" else 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        depth = image.tag_v2.get(TIFF_BITS, (depth,))[0]
        white_is_zero = image.tag_v2.get(TIFF_PHOTOMETRIC) == 0
    return normalize_image(image), Origin(image.format, depth, white_is_zero)


def can_be_seen(image: Image.Image) -> bool:
    """Whether `as_seen` knows what the values of an opened picture mean; none of them is decoded for that.

    A file of 32-bit or floating-point values does not say which of them is black and which is white.
    """
    # PNG and PPM are at most 16 bits deep, whatever mode a version of Pillow reads them into.
    return image.mode in PLAIN | DEEP | ODD or (image.mode == "I" and image.format in ("PNG", "PPM"))


def as_seen(image: Image.Image, origin: Origin, data: bytes) -> Image.Image:
    """Return an 8-bit picture of one of the modes in `PLAIN`; the very same picture where it is one already.

    Args:
        image: the picture that `decode` returned; it is not changed.
        origin: what `decode` returned with it.
        data: the bytes of the file.
    """
    if origin.kind == "PNG" and "transparency" in image.info and image.mode != "P":
        return _with_colour_key(image, origin, data)
    if image.mode in DEEP or image.mode == "I":
        return _eight_bits(image, origin)
    if image.mode == "CMYK":
        return _by_profile(image) or image.convert("RGB")
    if image.mode == "LAB":
        return image.convert("RGB")
    if image.mode in ("La", "RGBa"):
        return image.convert(image.mode.upper())
    # Pillow has more ways to say that a palette is transparent than vLLM looks for.
    if image.mode == "P" and image.has_transparency_data and "transparency" not in image.info:
        return image.convert("RGBA")
    return image


def _eight_bits(image: Image.Image, origin: Origin) -> Image.Image:
    """Return the upper 8 bits of 16-bit grey, as Pillow itself does for 16-bit colours."""
    # A TIFF may have 12 bits per value, or 0 for white: Pillow neither scales the former nor inverts the latter.
    shift, flip = (origin.depth - 8, 255 if origin.white_is_zero else 0) if origin.kind == "TIFF" else (8, 0)
    return image.convert("I").point([min(value >> shift, 255) ^ flip for value in range(SIXTEEN_BITS)], "L")


def _with_colour_key(image: Image.Image, origin: Origin, data: bytes) -> Image.Image:
    """Make the one transparent colour (tRNS) of a PNG transparent.

    vLLM looks for that in grey pictures only; Pillow compares the colour with the values that it has scaled to 8 bits.
    """
    key = image.info["transparency"]
    if image.mode == "RGB":
        opaque = _differs(image, [value >> (origin.depth - 8) & 255 for value in key])
        if origin.depth == 16:
            opaque = ImageChops.lighter(opaque, _differs(_lower_bytes(data), [value & 255 for value in key]))
    elif origin.depth == 16:
        opaque = image.convert("I").point([255 * (value != key) for value in range(SIXTEEN_BITS)], "L")
        image = _eight_bits(image, origin)
    else:
        scale = 1 if image.mode == "1" else 255 // ((1 << origin.depth) - 1)  # Pillow itself scales a 1-bit key
        image = image.convert("L")
        opaque = _differs(image, [key * scale & 255])
    shown = image.convert("RGB") if image.mode == "L" else image.copy()
    shown.putalpha(opaque)
    del shown.info["transparency"]
    return shown


def _differs(image: Image.Image, colour: list[int]) -> Image.Image:
    """Return 255 where a pixel has another colour than this one, else 0."""
    bands = (
        image.getchannel(number).point([255 * (value != wanted) for value in range(256)])
        for number, wanted in enumerate(colour)
    )
    return reduce(ImageChops.lighter, bands)


def _lower_bytes(data: bytes) -> Image.Image:
    """Return the lower bytes of a PNG's 16-bit colours, which Pillow drops, as an upright picture."""
    opened = Image.open(BytesIO(data), formats=("PNG",))
    # PNG stores the upper byte first. Read in the other byte order, the lower byte is the one that Pillow keeps.
    opened.tile = [tile._replace(args="RGB;16L") for tile in opened.tile]
    return normalize_image(opened)


def _by_profile(image: Image.Image) -> Image.Image | None:
    """Convert CMYK to RGB by the embedded profile, which describes the inks; return None without a usable profile."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        inks = ImageCms.ImageCmsProfile(BytesIO(embedded))
        if inks.profile.xcolor_space.strip() != "CMYK":
            return None
        return ImageCms.profileToProfile(image, inks, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # ValueError: names in the profile are no text
        return None
