"""Reports on responses that vLLM answers in the background: read once a response has ended, and kept with it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi.responses import Response
from vllm.entrypoints.openai.responses.protocol import ResponsesResponse
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses

from eah_vllm.report import Report
from eah_vllm_server.reply import FetchReports

ANSWERED = ("completed", "incomplete")
"""States in which a stored response is an answer; a response that was cancelled or failed gets no report."""
Kept = tuple[ResponsesResponse, Mapping[str, Report]]


def is_answered(response: Response) -> bool:
    """Whether vLLM's reply holds a stored response that is an answer."""
    return response.status_code < 400 and json.loads(bytes(response.body)).get("status") in ANSWERED


class BackgroundReports:
    """Reports by response ID, kept as long as vLLM keeps the responses: until the server ends."""

    def __init__(self) -> None:
        self._kept: dict[str, asyncio.Task[Kept | None]] = {}

    def follow(
        self,
        serving: OpenAIServingResponses,
        response_id: str,
        fetch: FetchReports | None,
        at_end: Callable[[], None],
    ) -> None:
        """Read the reports when the response has ended.

        Args:
            serving: vLLM's handler, which runs the response and stores it.
            response_id: ID of the response, which is queued or runs.
            fetch: a function that reads the reports; None where nobody asked for one.
            at_end: called instead, when the response has ended and there is no report to read.
        """
        running = serving.background_tasks.get(response_id)
        following = self._when_ended(serving, response_id, running, fetch, at_end)
        self._kept[response_id] = asyncio.create_task(following)

    async def reports(self, serving: OpenAIServingResponses, response_id: str) -> Mapping[str, Report]:
        """Return the reports of an answered response, by method; wait while they are being read."""
        following = self._kept.get(response_id)
        kept = None if following is None else await asyncio.shield(following)
        if kept is None:
            return {}
        response, reports = kept
        # Callers may choose the IDs of their responses: another response may have been stored under this ID since.
        stored = await serving.retrieve_responses(response_id, starting_after=None, stream=False)
        return reports if stored is response else {}

    async def _when_ended(
        self,
        serving: OpenAIServingResponses,
        response_id: str,
        running: "asyncio.Task[Any] | None",
        fetch: FetchReports | None,
        at_end: Callable[[], None],
    ) -> Kept | None:
        if running is not None:
            await asyncio.wait({running})
        response = await serving.retrieve_responses(response_id, starting_after=None, stream=False)
        if fetch is None or not isinstance(response, ResponsesResponse) or response.status not in ANSWERED:
            at_end()
            return None
        return response, await fetch()
