"""vLLM's picture reader behind checks of its own."""

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
    """A picture that is answered with 400."""
    return VLLMValidationError(f"the picture is refused: {why}", parameter="image_url")


class CheckedImageIO(MediaIO[Any]):
    """Reads what the header says is fit to decode, and answers whatever a decoder raises with 400.

    It stands in for `ImageMediaIO.load_bytes`, which clips 16-bit grey to white and shows colours that are transparent.
    All other pictures come out bit for bit as from vLLM, with the same key in its caches.

    Args:
        inner: vLLM's reader; its options (mode, background) hold here.
        limits: what may be decoded.
        budget: what is left for the request.
    """

    def __init__(self, inner: ImageMediaIO, limits: HTTPLimits, budget: PixelBudget) -> None:
        super().__init__()
        self._mode = inner.image_mode
        self._background = inner.rgba_background_color
        self._limits = limits
        self._budget = budget

    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        """Check, count, decode.

        Raises:
            VLLMValidationError: says what is wrong with the picture.
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
        # vLLM's caches tell pictures apart by their bytes, and by this where the pixels are not the file's own.
        config = {"image_mode": self._mode, "rgba_background_color": self._background}
        return MediaWithBytes(image, data, None if as_stored else config)

    def load_base64(self, media_type: str, data: str) -> MediaWithBytes[Image.Image]:
        """What a data: URL holds."""
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
        """A file of the server, where the operator allowed a folder."""
        if filepath.stat().st_size > self._limits.media_bytes:
            raise refused(f"the file is larger than {self._limits.media_bytes} bytes (eah_http.media_bytes)")
        return self.load_bytes(filepath.read_bytes())
