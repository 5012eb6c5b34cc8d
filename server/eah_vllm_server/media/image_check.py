"""Judges a picture by its header, before any of its pixels are decoded."""

from io import BytesIO

from PIL import Image

from eah_vllm_server.http_limits import HTTPLimits

# What Pillow turns into RGB as an eye would: it clips 16-bit grey to white, and knows no colour profile of CMYK.
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
PNG = b"\x89PNG\r\n\x1a\n"
MULTI_PICTURE = "MPO"  # a camera's JPEG with further pictures behind the first, which alone is read


class ImageRefused(ValueError):
    """A picture that is not decoded; the message says why."""


def load_png(data: bytes) -> None:
    """Decode a PNG once, for what it raises; other formats are left alone.

    vLLM turns pictures upright under `suppress(Exception)`. For that Pillow decodes a PNG, and decoding a broken one a
    second time gives black pixels instead of an error.
    """
    if data.startswith(PNG):
        Image.open(BytesIO(data), formats=("PNG",)).load()


def check_image(data: bytes, limits: HTTPLimits) -> int:
    """Pixels of a picture that may be decoded.

    Raises:
        ImageRefused: not a picture, of another format, too large, too long, animated, or of an odd mode.
    """
    formats = ", ".join(limits.image_formats)
    try:
        # Lazy: reads the header only. It knows formats by their first bytes, whatever the sender calls them.
        image = Image.open(BytesIO(data), formats=limits.image_formats)
        animated = image.format != MULTI_PICTURE and bool(getattr(image, "is_animated", False))
    except Image.DecompressionBombError as error:
        raise ImageRefused(f"it has more than {limits.image_pixels} pixels (eah_http.image_pixels)") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken header leads to
        raise ImageRefused(f"it is not a picture that can be read; known formats: {formats}") from error
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
        raise ImageRefused("it is animated; send one frame")
    if image.mode not in MODES:
        raise ImageRefused(f"its mode {image.mode} cannot be turned into RGB faithfully; send 8-bit RGB or grey")
    return width * height
