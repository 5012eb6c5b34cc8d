"""`GET /playground`: serves the page from memory, with headers under which it can load nothing from elsewhere."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from eah_vllm.options import shown
from eah_vllm_server.errors import error_response
from eah_vllm_server.hardening.edge.answer_headers import page_headers

SECTION = "eah_playground"
PAGE = "/playground"
HERE = Path(__file__).parent
STATIC = HERE / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
# Hardening adds the same to pages without headers of their own; these hold where it is off, too. `blob:` and `data:`
# are the visitor's picture. A browser asks whether a file is still the same, so an upgrade shows at once.
HEADERS = page_headers("'self' blob: data:") | {"Cache-Control": "no-cache"}
POLICY = HEADERS["Content-Security-Policy"]


def is_served(additional: Any) -> bool:
    """Return whether vLLM's `--additional-config` leaves the page on: it is on unless `eah_playground` is false.

    Raises:
        ValueError: the value is neither true nor false.
    """
    value = additional.get(SECTION, True) if isinstance(additional, dict) else True
    if not isinstance(value, bool):
        raise ValueError(f"--additional-config {SECTION}: must be true or false, got {shown(value)}")
    return value


def example_pictures() -> Path:
    """The folder of the example pictures: next to this file in a wheel, `docs/images` in a checkout."""
    packaged = HERE / "pictures"
    return packaged if packaged.is_dir() else HERE.parents[2] / "docs" / "images"


def files() -> Mapping[str, Path]:
    """Return every file of the page by its path on the server."""
    static = {f"{PAGE}/{path.relative_to(STATIC).as_posix()}": path for path in STATIC.rglob("*.*")}
    pictures = {f"{PAGE}/pictures/{path.name}": path for path in example_pictures().glob("scene-*.png")}
    return {PAGE: static.pop(f"{PAGE}/index.html"), **static, **pictures}


def open_paths() -> frozenset[str]:
    """Return the paths that want no API key: the page's own, since it is where a visitor enters the key."""
    return frozenset({*files(), f"{PAGE}/"})


@dataclass(frozen=True, slots=True)
class _Held:
    """A file of the page in memory."""

    content: bytes
    media_type: str
    tag: str


def router() -> APIRouter:
    """Read the files and return the routes that serve them; no path leads to any other file."""
    held = {path: _read(file) for path, file in files().items()}
    routes = APIRouter(include_in_schema=False)

    @routes.get(PAGE)
    async def page(request: Request) -> Response:
        """Answer with the page."""
        return _answer(held[PAGE], request)

    @routes.get(f"{PAGE}/{{name:path}}")
    async def file(name: str, request: Request) -> Response:
        """Answer with a file of the page."""
        if not name:
            return RedirectResponse(f"..{PAGE}")  # the page's own links hold only without the slash
        found = held.get(f"{PAGE}/{name}")
        if found is None:
            return error_response(HTTPStatus.NOT_FOUND, f"the playground has no file {shown(name)}")
        return _answer(found, request)

    return routes


def _read(file: Path) -> _Held:
    content = file.read_bytes()
    return _Held(content, MEDIA_TYPES[file.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(held: _Held, request: Request) -> Response:
    headers = HEADERS | {"ETag": held.tag}
    if request.headers.get("if-none-match") == held.tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(held.content, headers=headers, media_type=held.media_type)
