"""Judges a picture by its header, before any of its pixels are decoded."""

from io import BytesIO

from PIL import Image

from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.pixels import can_be_seen

MULTI_PICTURE = "MPO"  # a camera's JPEG file with further pictures after the first; only the first is read
CONVERT = "for example with `magick %s -colorspace sRGB -depth 8 out.png`"


class ImageRefused(ValueError):
    """A picture is refused before it is decoded; the message says why."""


def check_image(data: bytes, limits: HTTPLimits) -> tuple[int, int]:
    """Return the width and height, in pixels, of a picture that may be decoded.

    Raises:
        ImageRefused: it is no picture, has another format, is too large, too long or animated, or its values have no
           known meaning.
    """
    formats = ", ".join(limits.image_formats)
    try:
        # Pillow reads only the header here. It knows a format by its first bytes, whatever the sender calls it.
        image = Image.open(BytesIO(data), formats=limits.image_formats)
        animated = image.format != MULTI_PICTURE and bool(getattr(image, "is_animated", False))
    except Image.DecompressionBombError as error:
        raise ImageRefused(f"it has more than {limits.image_pixels} pixels (eah_http.image_pixels)") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken header leads to
        known = f"it is not a picture that can be read; known formats: {formats}"
        raise ImageRefused(f"{known}. Convert another one, {CONVERT % 'in.tif'}") from error
    width, height = image.size
    if width * height > limits.image_pixels:
        raise ImageRefused(f"{width} x {height} is more than {limits.image_pixels} pixels (eah_http.image_pixels)")
    if min(width, height) < 1:
        raise ImageRefused(f"{width} x {height} has no pixels")
    # Models scale the shorter side to a fixed length, so a line of pixels would become a huge picture.
    if max(width, height) > limits.image_aspect * min(width, height):
        raise ImageRefused(
            f"{width} x {height} is longer than {limits.image_aspect:g} times its width (eah_http.image_aspect)"
        )
    if animated:
        raise ImageRefused("it is animated; send one frame, " + CONVERT % "'in.gif[0]'")
    if not can_be_seen(image):
        why = f"its mode {image.mode} does not say which value is black and which is white"
        raise ImageRefused(f"{why}; convert it, {CONVERT % 'in.tif -auto-level'}")
    return width, height
