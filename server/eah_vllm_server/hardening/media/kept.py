"""Keeps what one request showed: its messages as they were rendered, and its media as they were judged and decoded.

Whoever looks at the same pictures again, for the same request, so gets the very pictures that were looked at before: no
URL is fetched a second time, when it may hold something else, and nothing is decoded twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.renderers.params import ChatParams

PICTURE_FIELDS = frozenset({"image_url", "image_embeds", "image_pil"})
PICTURE_TYPES = PICTURE_FIELDS | {"input_image"}
COPIED = PICTURE_FIELDS | {"type", "uuid", "detail"}
"""Fields of a content part that make up a picture; any other, such as a text, is left out."""


@dataclass(slots=True, eq=False)
class Kept:
    """What one request has shown so far; while it is set as `KEPT`, the renderer and the connector fill it."""

    closed: bool = False
    """Whether the messages are complete: what is rendered after that is no part of the request."""
    pictures: list[dict[str, Any]] = field(default_factory=list)
    """Content parts of the pictures in the user messages, in order."""
    chat_params: "ChatParams | None" = None
    """How the messages were rendered, and their media read and processed."""
    prompt_extras: Mapping[str, Any] | None = None
    """What the prompt carries beside its text: `cache_salt` and arguments of the processor."""
    _media: dict[tuple[str, str], asyncio.Task[Any]] = field(default_factory=dict)

    def note(
        self,
        conversations: Sequence[list[Any]],
        chat_params: "ChatParams",
        prompt_extras: Mapping[str, Any] | None,
    ) -> None:
        """Keep the pictures of messages that are about to be rendered; the last ones count."""
        if self.closed:
            return
        messages = [message for conversation in conversations for message in conversation]
        self.pictures = [picture for message in messages for picture in _pictures(message)]
        self.chat_params, self.prompt_extras = chat_params, prompt_extras

    def sizes(self) -> list[tuple[int, int] | None]:
        """Return width and height of each of `pictures`, in pixels; None for one that was read from no URL."""
        done = {url: task for (_, url), task in self._media.items() if task.done() and not task.cancelled()}
        read = {url: task.result() for url, task in done.items() if task.exception() is None}
        places = [picture.get("image_url") for picture in self.pictures]
        urls = [place.get("url") if isinstance(place, Mapping) else place for place in places]
        return [getattr(read.get(str(url)), "size", None) for url in urls]

    async def load(self, kind: str, url: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """Return what `read` returned for this URL the first time.

        Args:
            kind: what the URL is read as; the same URL may be read as a picture and as a film.
            url: URL of the item.
            read: reads the item.
        """
        key = kind, url
        if key not in self._media:
            self._media[key] = asyncio.ensure_future(read())
        return await self._media[key]


KEPT: ContextVar[Kept | None] = ContextVar("eah_kept_media", default=None)
"""What is kept for the request under way; None for all requests whose pictures nobody will look at again."""


@contextmanager
def keeping(kept: Kept | None) -> Iterator[None]:
    """Let the renderer and the connector fill `kept` inside; None leaves everything as it is."""
    token = KEPT.set(kept)
    try:
        yield
    finally:
        KEPT.reset(token)


def _pictures(message: Any) -> list[dict[str, Any]]:
    if not isinstance(message, dict) or message.get("role") != "user":
        return []
    content = message.get("content")
    if content is None or isinstance(content, str):
        return []
    # vLLM's request models leave this as an iterator that can be read only once.
    parts = message["content"] = list(content)
    found = [part for part in parts if isinstance(part, Mapping) and _is_picture(part)]
    return [{name: part[name] for name in COPIED & part.keys()} for part in found]


def _is_picture(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    # Where a part has no type, or has a name (`uuid`), vLLM looks at its fields and not at its type.
    by_field = kind is None or part.get("uuid") is not None
    return kind in PICTURE_TYPES or (by_field and bool(PICTURE_FIELDS & part.keys()))


class KeepsMedia:
    """A media connector's `load_from_url_async` that reads each URL of a request once, while `KEPT` is set.

    It stands before vLLM's connector, or one of ours, among the bases of a class.
    """

    async def load_from_url_async(self, url: str, media_io: Any, *, fetch_timeout: int | None = None) -> Any:
        """Load one item of media from a URL, or return it if this request has loaded it before."""
        inner = super().load_from_url_async  # type: ignore[misc]
        kept = KEPT.get()
        if kept is None:
            return await inner(url, media_io, fetch_timeout=fetch_timeout)
        return await kept.load(type(media_io).__name__, url, lambda: inner(url, media_io, fetch_timeout=fetch_timeout))
