"""Asks a server's inspector (`POST /v1/eah/inspect`) about one picture."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import openai

from eah_vllm.evaluation.ask.asking import Server


class InspectError(RuntimeError):
    """The server refuses to inspect, is away, or has no inspector; the message says which."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a server's inspector said about one picture and prompt."""

    answer: Mapping[str, Any]
    """The answer, without a map; docs/inspect.md says what is in it."""
    maps: Sequence[Mapping[str, Any]]
    """The maps that were asked for, each with its `layer` and `head`."""


def look(
    server: Server,
    picture: tuple[bytes, str],
    prompt: str,
    thresholds: Mapping[str, Sequence[float]],
    cells: Sequence[tuple[int, int]] = (),
) -> Looked:
    """Inspect one picture, and read the maps of the head that EAH would choose in each layer, and of other heads.

    Args:
        server: the server.
        picture: the file's bytes and its media type.
        prompt: what is asked about the picture.
        thresholds: `thresholds` and `relative_thresholds`; empty for the server's own.
        cells: further layers and heads whose maps are read.

    Raises:
        InspectError: the server refuses, is away, or has no inspector.
    """
    return asyncio.run(_look(server, picture, prompt, thresholds, cells))


async def _look(
    server: Server, picture: tuple[bytes, str], prompt: str, thresholds: Mapping[str, Sequence[float]],
    cells: Sequence[tuple[int, int]],
) -> Looked:  # fmt: skip
    image, media_type = picture
    url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    body = {"model": server.model, "messages": [{"role": "user", "content": content}]}
    places = asyncio.Semaphore(server.concurrency)

    async with server.client() as client:

        async def ask(options: Mapping[str, Any]) -> Mapping[str, Any]:
            async with places:
                return await _ask(client, server, body | {"eah": dict(options)})

        answer = await ask(thresholds)
        sources = [(layer["layer"], _source(layer)) for layer in answer["layers"] if "reason" not in layer]
        wanted = dict.fromkeys([*((layer, head) for layer, head in sources if head is not None), *cells])
        asked = [ask({**thresholds, "layer": layer, "head": head}) for layer, head in wanted]
        return Looked(answer, [one["map"] for one in await asyncio.gather(*asked)])


def _source(layer: Mapping[str, Any]) -> int | None:
    """Return the source head at the first threshold at which there is one."""
    return next((head for head in layer["source_head"] if head is not None), None)


async def _ask(client: openai.AsyncOpenAI, server: Server, body: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return cast(Mapping[str, Any], await client.post("/eah/inspect", body=body, cast_to=object))
    except openai.NotFoundError as error:
        if error.param == "model":
            raise InspectError(f"{server.base_url}: {error.message}") from error
        raise InspectError(f"{server.base_url} has no inspector: it is not eah-vllm, or an older one") from error
    except openai.APIStatusError as error:
        raise InspectError(f"{server.base_url} refuses: {error.message}") from error
    except openai.APIError as error:
        raise InspectError(f"{server.base_url} does not answer: {error}") from error
