"""Asks a server's inspector (`POST /v1/eah/inspect`) about a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import openai

from eah_vllm.evaluation.ask.asking import Server, messages_about


class InspectError(RuntimeError):
    """The server refuses to inspect, is away, or has no inspector; the message says which."""


def spoken(threshold: Mapping[str, float]) -> str:
    """Return a threshold of an inspection's answer as people write it: `0.002`, or `1.5/S`."""
    (kind, value), *_ = threshold.items()
    return f"{value:g}" if kind == "threshold" else f"{value:g}/S"


async def inspect(
    client: openai.AsyncOpenAI, server: Server, picture: tuple[bytes, str], prompt: str, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Inspect one picture once; docs/inspect.md says what is in the answer.

    Args:
        client: a client that `Server.client` has made.
        server: the server to ask.
        picture: the file's bytes and its media type.
        prompt: what is asked about the picture.
        options: `thresholds`, `relative_thresholds`, `layer`, `head`; without thresholds the server's own.

    Raises:
        InspectError: the server refuses, is away, or has no inspector.
    """
    body = {"model": server.model, "messages": messages_about(picture, prompt), "eah": dict(options)}
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
