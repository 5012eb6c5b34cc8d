"""Asks a server's inspector (`POST /v1/eah/inspect`) about a picture."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

import openai

from eah_vllm.evaluation.ask.asking import Server


class InspectError(RuntimeError):
    """The server refuses to inspect, is away, or has no inspector; the message says which."""


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
    image, media_type = picture
    url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    body = {"model": server.model, "messages": [{"role": "user", "content": content}], "eah": dict(options)}
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
