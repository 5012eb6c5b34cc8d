"""Reads pictures with vLLM's reader, after checks of our own."""

import binascii
from pathlib import Path
from typing import Any

import pybase64
from PIL import Image
from vllm import envs
from vllm.exceptions import VLLMError, VLLMValidationError
from vllm.multimodal.image import convert_image_mode
from vllm.multimodal.media.base import MediaIO, MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.image_check import ImageRefused, check_image
from eah_vllm_server.hardening.media.pixel_budget import PixelBudget
from eah_vllm_server.hardening.media.pixels import as_seen, decode

UNTYPED = frozenset({"", "image", "application/octet-stream"})
"""What a data URL may say in the place of an image's type. Qwen's documentation writes `data:image;base64,`."""


def refused(why: str) -> VLLMValidationError:
    """Make the error that answers a bad picture with 400."""
    return VLLMValidationError(f"the picture is refused: {why}", parameter="image_url")


class CheckedImageIO(MediaIO[Any]):
    """Decodes pictures whose headers allow it, and answers whatever a decoder raises with 400.

    It replaces `ImageMediaIO.load_bytes`, which clips 16-bit grey to white and shows colours that are transparent. All
    other pictures come out bit for bit as from vLLM, with the same key in its caches.

    Args:
        inner: vLLM's reader, whose options (mode, background colour) apply here too.
        limits: the limits on what may be decoded.
        budget: the pictures and pixels that the request may still bring.
    """

    def __init__(self, inner: ImageMediaIO, limits: HTTPLimits, budget: PixelBudget) -> None:
        super().__init__()
        self._mode = inner.image_mode
        self._background = inner.rgba_background_color
        self._limits = limits
        self._budget = budget

    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        """Check a picture, count it against the request's budget, and decode it.

        Raises:
            VLLMValidationError: the picture is refused; the message says what is wrong with it.
        """
        try:
            width, height = check_image(data, self._limits)
            if 0 < envs.VLLM_MAX_IMAGE_PIXELS < width * height:
                raise ImageRefused(f"it has more than {envs.VLLM_MAX_IMAGE_PIXELS} pixels (VLLM_MAX_IMAGE_PIXELS)")
            self._budget.take(width, height)
        except ImageRefused as error:
            raise refused(str(error)) from error
        try:
            return self._read(data)
        except (MemoryError, VLLMError):
            raise
        except Exception as error:  # Pillow's decoders raise whatever broken data leads to
            raise refused(f"its data are broken ({type(error).__name__})") from error

    def _read(self, data: bytes) -> MediaWithBytes[Image.Image]:
        upright, origin = decode(data, self._limits.image_formats)
        image = as_seen(upright, origin, data)
        as_stored = image is upright
        del upright  # large
        if self._mode is not None:
            shown = convert_image_mode(image, self._mode, self._background)
            as_stored, image = as_stored and shown is image, shown
        # vLLM's caches know a picture by its bytes, and also by this where the pixels differ from those in the file.
        config = {"image_mode": self._mode, "rgba_background_color": self._background}
        return MediaWithBytes(image, data, None if as_stored else config)

    def load_base64(self, media_type: str, data: str) -> MediaWithBytes[Image.Image]:
        """Decode the picture in a `data:` URL."""
        # Clients often say jpeg for png, or nothing at all: the bytes say what they are.
        said = media_type.strip().lower()
        if not said.startswith("image/") and said not in UNTYPED:
            raise refused(
                f"the data: URL must say that it holds an image (data:image/png;base64,...) or leave its type open "
                f"(data:image;base64,...), got the type {said[:40]!r}"
            )
        try:
            decoded = pybase64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise refused("its base64 is broken") from error
        return self.load_bytes(decoded)

    def load_file(self, filepath: Path) -> MediaWithBytes[Image.Image]:
        """Decode a file of the server; only a server whose operator allowed a folder comes here."""
        if filepath.stat().st_size > self._limits.media_bytes:
            raise refused(f"the file is larger than {self._limits.media_bytes} bytes (eah_http.media_bytes)")
        return self.load_bytes(filepath.read_bytes())
