"""Pictures as this server's reader shows them, for comparison with arithmetic."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.image_io import CheckedImageIO
from eah_vllm_server.hardening.media.pixel_budget import PixelBudget
from PIL import Image
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

Pixels = npt.NDArray[Any]
WIDE = HTTPLimits(image_formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI"))


def load(data: bytes, **options: Any) -> MediaWithBytes[Image.Image]:
    return CheckedImageIO(ImageMediaIO(**options), WIDE, PixelBudget(WIDE)).load_bytes(data)


def seen(data: bytes) -> Pixels:
    image = load(data).media
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def random(*shape: int, bits: int = 8) -> Pixels:
    return np.random.default_rng(bits).integers(0, 1 << bits, shape, np.uint16)


def as_rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)


def on_white(colours: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[:, :, None] / 255
    return colours * share + 255 * (1 - share)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
