"""The connector that vLLM's server gets its media from, in vLLM's registry, without an engine."""

from __future__ import annotations

import asyncio
import base64
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.connector import install_media_connector
from eah_vllm_server.hardening.media.pixel_budget import REQUEST_BUDGET, PixelBudget
from PIL import Image
from vllm.exceptions import VLLMUnprocessableEntityError, VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

from tests.unit.test_fetch import HTTPServer, send
from tests.unit.test_image_check import picture, png_header

BROKEN = {
    "truncated": picture("PNG", size=(200, 200))[:-60],
    "no pixels at all": png_header(64, 64),
    "wrong checksum": picture("PNG")[:-20] + b"\0\0\0\0" + picture("PNG")[-16:],
    "pixels that are no deflate stream": png_header(64, 64, pixels=b"\xff" * 500),
    "cut JPEG": picture("JPEG", size=(400, 400))[:600],
    "cut GIF": picture("GIF", "P", size=(200, 200))[:90],
    "cut BMP": picture("BMP", size=(200, 200))[:300],
    "cut WEBP": picture("WEBP", size=(200, 200))[:40],
}


@pytest.fixture(autouse=True)
def restored_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MEDIA_CONNECTOR_REGISTRY, "name2class", dict(MEDIA_CONNECTOR_REGISTRY.name2class))


def connector(*, limits: HTTPLimits | None = None, **arguments: Any) -> MediaConnector:

    install_media_connector(limits or HTTPLimits())
    loaded: MediaConnector = MEDIA_CONNECTOR_REGISTRY.load("http", **arguments)
    return loaded


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def load(source: MediaConnector, url: str) -> Image.Image:
    loaded: Any = asyncio.run(source.fetch_image_async(url))
    return loaded.media


@pytest.fixture
def origin() -> Iterator[HTTPServer]:
    with HTTPServer(lambda handler: send(handler, picture("PNG", size=(20, 10)))) as server:
        yield server


def test_data_urls_are_read_as_by_vllm() -> None:
    shades = Image.effect_noise((40, 30), 90)
    for format_, mode in [("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("WEBP", "RGB")]:
        buffer = io.BytesIO()
        shades.convert(mode).save(buffer, format_)
        url = data_url(buffer.getvalue())
        ours, theirs = load(connector(), url), load(MediaConnector(), url)
        assert (ours.mode, ours.tobytes()) == (theirs.mode, theirs.tobytes())
        assert connector().fetch_image(url).media.tobytes() == theirs.tobytes()  # type: ignore[attr-defined]


def test_exif_orientation_is_applied() -> None:
    upright = Image.new("RGB", (40, 20))
    upright.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    buffer = io.BytesIO()
    upright.save(buffer, "PNG", exif=exif)
    seen = load(connector(), data_url(buffer.getvalue()))
    assert seen.size == (20, 40)
    assert seen.getpixel((10, 5)) == (255, 255, 255)


def test_urls_are_refused_unless_a_host_is_allowed(origin: HTTPServer) -> None:
    url = f"http://127.0.0.1:{origin.port}/a.png"
    for scheme in ("http", "HTTP", "https"):
        with pytest.raises(VLLMValidationError, match=r"fetches no URLs.*--allowed-media-domains HOST"):
            load(connector(), scheme + url[4:])
    assert origin.requests == []
    assert MediaConnector().fetch_image(url).size == (20, 10), "vLLM's own fetches from anywhere"


def test_allowed_hosts_at_allowed_addresses(origin: HTTPServer) -> None:
    url = f"http://127.0.0.1:{origin.port}/a.png"
    limits = HTTPLimits(private_networks=("127.0.0.1/32",))
    assert load(connector(limits=limits, allowed_media_domains=["127.0.0.1"]), url).size == (20, 10)
    assert len(origin.requests) == 1
    with pytest.raises(VLLMValidationError, match="refused: its host is at an address that is not public"):
        load(connector(allowed_media_domains=["127.0.0.1"]), url)
    with pytest.raises(VLLMValidationError, match="refused: its host is not one"):
        load(connector(limits=limits, allowed_media_domains=["localhost"]), url)
    few = limits.model_copy(update={"media_bytes": 20})
    with pytest.raises(VLLMUnprocessableEntityError, match="larger than 20 bytes"):
        load(connector(limits=few, allowed_media_domains=["127.0.0.1"]), url)
    assert len(origin.requests) == 2
    vllms = MediaConnector(allowed_media_domains=["127.0.0.1"])
    assert vllms.fetch_image(url).size == (20, 10), "vLLM looks at no address"


def test_files_are_refused_unless_a_folder_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture("PNG"))
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "inner").mkdir()
    with pytest.raises(VLLMValidationError, match="--allowed-local-media-path"):
        load(connector(), file.as_uri())
    allowed = connector(allowed_local_media_path=str(tmp_path))
    assert load(allowed, file.as_uri()).size == (32, 24)
    for name in ("b.png", "none.png", "inner"):
        with pytest.raises(VLLMValidationError):
            load(allowed, (tmp_path / name).as_uri())
    outside = connector(allowed_local_media_path=str(tmp_path / "inner"))
    with pytest.raises(ValueError, match="subpath"):
        load(outside, file.as_uri())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://localhost/a.png",
        "gopher://localhost/",
        "a.png",
        "",
        " data:image/png;base64,AAAA",
        "data:",
        "data:,",
        "data:image/png,AAAA",
        "data:image/png;BASE64,AAAA",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,#",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,ÄÖÜ",
        data_url(picture("PNG"), "text/html"),
        data_url(picture("PNG"), "application/pdf"),
        data_url(picture("PNG"), "images"),
        data_url(b"<html>", "application/octet-stream"),
        data_url(b"<html>", ""),
        data_url(b"<html>", "image"),
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(VLLMValidationError):
        load(connector(), url)


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "image",
        "application/octet-stream",
        "APPLICATION/Octet-Stream",
        "image/png",
        "image/jpeg",
        " image/png",
        "image/png;charset=utf-8",
        ";charset=utf-8",
        "image;name=a.png;charset=utf-8",
        "application/octet-stream;charset=binary",
    ],
)
def test_a_picture_without_a_type_is_what_its_bytes_say(media_type: str) -> None:
    """Qwen's documentation writes `data:image;base64,`; vLLM takes any type."""
    url = data_url(picture("PNG", size=(20, 10)), media_type)
    assert load(connector(), url).tobytes() == load(MediaConnector(), url).tobytes()


def animated() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 90)])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (animated(), r"animated; send one frame, for example with `magick 'in\.gif\[0\]' .* out\.png`"),
        (picture("PNG", "L", (1, 30_000)), "longer than 100 times"),
        (picture("PNG", "1", (8000, 8000)), "more than 50000000 pixels"),
        (picture("TIFF"), "known formats: JPEG, PNG, WEBP, GIF, BMP"),
    ],
)
def test_pictures_that_vllm_reads_and_this_server_does_not(data: bytes, said: str) -> None:
    assert load(MediaConnector(), data_url(data)).mode == "RGB"
    with pytest.raises(VLLMValidationError, match=said):
        load(connector(), data_url(data))


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pictures_are_refused(kind: str) -> None:
    with pytest.raises(VLLMValidationError, match="the picture is refused"):
        load(connector(), data_url(BROKEN[kind]))


def test_a_request_has_one_budget_over_all_its_messages() -> None:
    limits = HTTPLimits(request_pixels=32 * 24 * 2)

    async def three() -> list[Any]:
        REQUEST_BUDGET.set(PixelBudget(limits))
        parsers = [connector(limits=limits) for _ in range(3)]  # vLLM makes one for each message
        urls = [parser.fetch_image_async(data_url(picture("PNG"))) for parser in parsers]
        return await asyncio.gather(*urls, return_exceptions=True)

    assert sorted(type(result).__name__ for result in asyncio.run(three())) == [
        "MediaWithBytes",
        "MediaWithBytes",
        "VLLMValidationError",
    ]


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_embeddings_are_numpy_files_never_pickles(tmp_path: Path) -> None:
    source, plain = connector(), MediaConnector()
    tensor, marker = torch.arange(6.0).reshape(2, 3), tmp_path / "marker"
    saved, numpy_file, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(tensor, saved)
    np.save(numpy_file, tensor.numpy())
    np.save(pickled, np.array([Malicious(marker)], dtype=object), allow_pickle=True)

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    assert torch.equal(source.fetch_image_embedding(encoded(numpy_file.getvalue())), tensor)
    assert torch.equal(plain.fetch_image_embedding(encoded(saved.getvalue())), tensor), "vLLM reads torch's pickles"
    for data in (saved.getvalue(), pickle.dumps(Malicious(marker))):
        for modality in ("image", "video", "audio"):
            with pytest.raises(VLLMValidationError, match="pickled tensors are not read"):
                getattr(source, f"fetch_{modality}_embedding")(encoded(data))
            with pytest.raises(VLLMValidationError, match="pickled tensors are not read"):
                asyncio.run(getattr(source, f"fetch_{modality}_embedding_async")(encoded(data)))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        source.fetch_image_embedding(encoded(pickled.getvalue()))
    assert not marker.exists()
