"""The media connector in the place of vLLM's: it decides which pictures, files and embeddings a request may bring."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import NoReturn, TypeVar

import torch
from vllm import envs
from vllm.exceptions import VLLMUnprocessableEntityError, VLLMValidationError
from vllm.logger import init_logger
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector
from vllm.multimodal.media.base import MediaIO
from vllm.multimodal.media.connector import global_thread_pool
from vllm.multimodal.media.image import ImageMediaIO

from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.addresses import Network, URLRefused
from eah_vllm_server.hardening.media.fetch import FetchFailed, FetchRules, fetch
from eah_vllm_server.hardening.media.image_io import CheckedImageIO
from eah_vllm_server.hardening.media.kept import KeepsMedia
from eah_vllm_server.hardening.media.pixel_budget import REQUEST_BUDGET, PixelBudget

logger = init_logger(__name__)
T = TypeVar("T")
REPLACED = "http"  # vLLM's name of its own connector
NUMPY_FILE = "k05VTVBZ"  # the first bytes of a `.npy` file, in base64


def install_media_connector(limits: HTTPLimits) -> None:
    """Let vLLM read all media through `CheckedMediaConnector` from now on, in this process.

    It takes the name of vLLM's default connector, so that `VLLM_MEDIA_CONNECTOR` can still choose any other. vLLM's
    offline class `LLM` is not affected.
    """
    networks = tuple(ip_network(network) for network in limits.private_networks)
    bound = {"limits": limits, "networks": networks}
    if envs.VLLM_MEDIA_CONNECTOR != REPLACED:
        logger.warning(
            "EAH: VLLM_MEDIA_CONNECTOR=%s reads media; no rule of SECURITY.md holds for it.", envs.VLLM_MEDIA_CONNECTOR
        )
    MEDIA_CONNECTOR_REGISTRY.register(REPLACED)(type("CheckedMediaConnector", (CheckedMediaConnector,), bound))


def keep_media() -> None:
    """Let whatever connector this process reads media through keep them where a request asks for it (`kept.py`)."""
    name = envs.VLLM_MEDIA_CONNECTOR
    used = MEDIA_CONNECTOR_REGISTRY.name2class.get(name)
    if used is not None:  # without one, vLLM refuses every request that brings media
        MEDIA_CONNECTOR_REGISTRY.register(name)(type(used.__name__, (KeepsMedia, used), {}))


def _refuse(message: str) -> NoReturn:
    raise VLLMValidationError(message, parameter="image_url")


class CheckedMediaConnector(MediaConnector):
    """vLLM's connector, but it fetches only from hosts that the operator named, and checks pictures before decoding."""

    limits = HTTPLimits()
    networks: Sequence[Network] = ()

    async def load_from_url_async(self, url: str, media_io: MediaIO[T], *, fetch_timeout: int | None = None) -> T:
        """Load one item of media from a URL, as vLLM's connector does, once the URL is found to be allowed.

        Raises:
            VLLMValidationError: the URL or what it holds is refused; it is answered with 400.
            VLLMUnprocessableEntityError: the other server did not deliver; it is answered with 422.
        """
        checked = self._checked(media_io)
        scheme = url[:16].partition(":")[0].lower()
        if scheme in ("http", "https"):
            data = await self._fetch(url, media_io.get_max_bytes(), fetch_timeout)
            return await asyncio.get_running_loop().run_in_executor(global_thread_pool, checked.load_bytes, data)
        self._check_local(scheme, url)
        try:
            return await super().load_from_url_async(url, checked, fetch_timeout=fetch_timeout)
        except OSError as error:
            raise VLLMValidationError("the file cannot be read", parameter="image_url") from error

    def load_from_url(self, url: str, media_io: MediaIO[T], *, fetch_timeout: int | None = None) -> T:
        """Load one item of media as `load_from_url_async` does, for callers without an event loop."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(
                asyncio.run, self.load_from_url_async(url, media_io, fetch_timeout=fetch_timeout)
            ).result()

    def _checked(self, media_io: MediaIO[T]) -> MediaIO[T]:
        if not isinstance(media_io, ImageMediaIO):
            return media_io
        budget = REQUEST_BUDGET.get() or PixelBudget(self.limits)
        return CheckedImageIO(media_io, self.limits, budget)

    def _check_local(self, scheme: str, url: str) -> None:
        if scheme == "file":
            if self.allowed_local_media_path is None:
                _refuse(
                    "the server's files are not read; its operator can allow a folder with --allowed-local-media-path"
                )
        elif scheme != "data":
            _refuse("the URL must be a data: URL (data:image/png;base64,...), or one of http, https or file")
        elif not url[: url.find(",") + 1].endswith(";base64,"):
            _refuse("a data: URL must be data:TYPE;base64,DATA")

    async def _fetch(self, url: str, max_bytes: int | None, seconds: float | None) -> bytes:
        if not self.allowed_media_domains:
            _refuse(
                "this server fetches no URLs; send the picture as a data: URL. Its operator can allow hosts with "
                "--allowed-media-domains HOST"
            )
        rules = FetchRules(
            domains=self.allowed_media_domains,
            networks=self.networks,
            max_bytes=min(self.limits.media_bytes, max_bytes or self.limits.media_bytes),
            seconds=seconds,
            redirects=envs.VLLM_MEDIA_URL_ALLOW_REDIRECTS,
        )
        try:
            return await fetch(url, rules)
        except URLRefused as error:
            raise VLLMValidationError(f"the URL is refused: {error}", parameter="image_url") from error
        except FetchFailed as error:
            raise VLLMUnprocessableEntityError(f"the URL failed: {error}", parameter="image_url") from error

    # `torch.load` reads pickles, even if only restricted ones, so embeddings are taken in numpy's own format alone.

    def fetch_image_embedding(self, data: str) -> torch.Tensor:
        """Read an embedding as vLLM does, but only from a `.npy` file; anything else is answered with 400."""
        return super().fetch_image_embedding(_numpy_only(data, "image_embeds"))

    async def fetch_image_embedding_async(self, data: str) -> torch.Tensor:
        """Read an embedding as vLLM does, but only from a `.npy` file; anything else is answered with 400."""
        return await super().fetch_image_embedding_async(_numpy_only(data, "image_embeds"))

    def fetch_video_embedding(self, data: str) -> torch.Tensor:
        """Read an embedding as vLLM does, but only from a `.npy` file; anything else is answered with 400."""
        return super().fetch_video_embedding(_numpy_only(data, "video_embeds"))

    async def fetch_video_embedding_async(self, data: str) -> torch.Tensor:
        """Read an embedding as vLLM does, but only from a `.npy` file; anything else is answered with 400."""
        return await super().fetch_video_embedding_async(_numpy_only(data, "video_embeds"))

    def fetch_audio_embedding(self, data: str) -> torch.Tensor:
        """Refuse audio embeddings: vLLM reads nothing but pickles here."""
        raise VLLMValidationError("pickled tensors are not read", parameter="audio_embeds")

    async def fetch_audio_embedding_async(self, data: str) -> torch.Tensor:
        """Refuse audio embeddings: vLLM reads nothing but pickles here."""
        return self.fetch_audio_embedding(data)


def _numpy_only(data: str, parameter: str) -> str:
    if not data.startswith(NUMPY_FILE):
        raise VLLMValidationError("pickled tensors are not read; send the base64 of a .npy file", parameter=parameter)
    return data
