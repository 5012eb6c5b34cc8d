"""Asks a server's inspector for the counts of one picture, and for the maps that a page shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eah_vllm.evaluation.ask.asking import Server
from eah_vllm.evaluation.ask.inspection import inspect


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
    places = asyncio.Semaphore(server.concurrency)

    async with server.client() as client:

        async def ask(options: Mapping[str, Any]) -> Mapping[str, Any]:
            async with places:
                return await inspect(client, server, picture, prompt, options)

        answer = await ask(thresholds)
        sources = [(layer["layer"], _source(layer)) for layer in answer["layers"] if "reason" not in layer]
        wanted = dict.fromkeys([*((layer, head) for layer, head in sources if head is not None), *cells])
        asked = [ask({**thresholds, "layer": layer, "head": head}) for layer, head in wanted]
        return Looked(answer, [one["map"] for one in await asyncio.gather(*asked)])


def _source(layer: Mapping[str, Any]) -> int | None:
    """Return the source head at the first threshold at which there is one."""
    return next((head for head in layer["source_head"] if head is not None), None)
