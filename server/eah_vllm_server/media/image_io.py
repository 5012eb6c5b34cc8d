"""vLLM's picture reader behind checks of its own."""

import binascii
from pathlib import Path
from typing import Any

import pybase64
from vllm.exceptions import VLLMError, VLLMValidationError
from vllm.multimodal.media.base import MediaIO

from eah_vllm_server.http_limits import HTTPLimits
from eah_vllm_server.media.image_check import ImageRefused, check_image, load_png
from eah_vllm_server.media.pixel_budget import PixelBudget


def refused(why: str) -> VLLMValidationError:
    """A picture that is answered with 400."""
    return VLLMValidationError(f"the picture is refused: {why}", parameter="image_url")


class CheckedImageIO(MediaIO[Any]):
    """Passes on what the header says is fit to decode, and answers whatever a decoder raises with 400."""

    def __init__(self, inner: MediaIO[Any], limits: HTTPLimits, budget: PixelBudget) -> None:
        super().__init__()
        self._inner = inner
        self._limits = limits
        self._budget = budget

    def load_bytes(self, data: bytes) -> Any:
        """Check, count, decode.

        Raises:
            VLLMValidationError: says what is wrong with the picture.
        """
        try:
            self._budget.take(check_image(data, self._limits))
        except ImageRefused as error:
            raise refused(str(error)) from error
        try:
            load_png(data)
            return self._inner.load_bytes(data)
        except (MemoryError, VLLMError):
            raise
        except Exception as error:  # Pillow's decoders raise whatever broken data leads to
            raise refused(f"its data are broken ({type(error).__name__})") from error

    def load_base64(self, media_type: str, data: str) -> Any:
        """What a data: URL holds."""
        # Clients often say jpeg for png, so any picture will do.
        if not media_type.lower().startswith("image/"):
            raise refused("the data: URL must say that it holds an image: data:image/png;base64,...")
        try:
            decoded = pybase64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise refused("its base64 is broken") from error
        return self.load_bytes(decoded)

    def load_file(self, filepath: Path) -> Any:
        """A file of the server, where the operator allowed a folder."""
        if filepath.stat().st_size > self._limits.media_bytes:
            raise refused(f"the file is larger than {self._limits.media_bytes} bytes (eah_http.media_bytes)")
        return self.load_bytes(filepath.read_bytes())
