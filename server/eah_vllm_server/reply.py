"""Adds reports to vLLM's reply: to the JSON object, or to the last chunk of a stream."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fastapi.responses import JSONResponse, Response, StreamingResponse

from eah_vllm.report import Report

FetchReports = Callable[[], Awaitable[Mapping[str, Report]]]
"""Reads the reports on one request, by method."""


def when_over(response: Response, then: Callable[[], None]) -> Response:
    """Return the same response; call `then` at its end: for a stream later, or never if the stream never starts."""
    if isinstance(response, StreamingResponse):
        response.body_iterator = _then(response.body_iterator, then)
    else:
        then()
    return response


async def _then(events: AsyncIterable[Any], then: Callable[[], None]) -> AsyncIterator[Any]:
    try:
        async for event in events:
            yield event
    finally:
        then()


def with_body(response: Response, body: dict[str, Any]) -> Response:
    """Return the same response with another JSON object as its body."""
    headers = {
        name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")
    }
    return JSONResponse(body, response.status_code, headers, background=response.background)


async def add_reports(response: Response, fetch: FetchReports, abandon: Callable[[], None]) -> Response:
    """Return the response with the reports in it, each in a field of its method's name.

    It calls `abandon` if no client gets the reports: an error, a broken stream.
    """

    async def fetch_fields() -> dict[str, Any]:
        return {method: report.to_dict() for method, report in (await fetch()).items()}

    if isinstance(response, StreamingResponse):
        response.body_iterator = add_to_stream(response.body_iterator, fetch_fields, abandon)
        return response
    if response.status_code >= 400:
        abandon()
        return response
    fields = await fetch_fields()
    return with_body(response, json.loads(bytes(response.body)) | fields) if fields else response


def _nothing(*_: Any) -> None:
    """Do nothing, where nobody looks on and nobody waits."""


async def add_to_stream(
    events: AsyncIterable[Any],
    fetch: Callable[[], Awaitable[Mapping[str, Any]]],
    abandon: Callable[[], None] = _nothing,
    see: Callable[[Mapping[str, Any]], None] = _nothing,
) -> AsyncIterator[str]:
    """Add fields to the last event of a stream; only events that may be the last are held back, so no token waits.

    In `/v1/messages` the report goes into `message_delta`, the one event after the last token that describes the whole
    message: Anthropic's client library rebuilds the `message_stop` that follows, and would lose the report.

    Args:
        events: the events of the stream.
        fetch: reads the fields once the answer is whole.
        abandon: called where nobody gets them: an error, a broken stream.
        see: called with each event before it is handed on.
    """
    held: str | None = None
    fetched = False
    try:
        async for raw in events:
            event = raw if isinstance(raw, str) else bytes(raw).decode()
            data = _data(event)
            if data is None and not event.startswith("data: [DONE]"):  # a comment that keeps the connection alive
                yield event
                continue
            if data is not None:
                see(data)
            if held is not None and data is not None:
                yield held
                held = None
            if data is not None and data.get("type") == "message_delta" and not fetched:
                fetched = True
                yield _with_fields(event, await fetch())
                continue
            if data is not None and _may_be_last(data):
                held = event
                continue
            if held is not None:
                fetched = True
                yield _with_fields(held, await fetch())
                held = None
            yield event
        if held is not None:
            fetched = True
            yield _with_fields(held, await fetch())
    finally:
        if not fetched:  # the client went away or the stream failed; this task is being cancelled and cannot wait
            abandon()


def _data(event: str) -> dict[str, Any] | None:
    for line in event.splitlines():
        if line.startswith("data: {"):
            data: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return data
    return None


def _may_be_last(data: dict[str, Any]) -> bool:
    if "choices" in data:
        return not data["choices"] or any(choice.get("finish_reason") for choice in data["choices"])
    return data.get("type") in ("response.completed", "response.incomplete", "response.failed")


def _with_fields(event: str, fields: Mapping[str, Any]) -> str:
    if not fields:
        return event
    data = (_data(event) or {}) | dict(fields)
    if isinstance(data.get("response"), dict):
        data["response"] |= fields
    head = "".join(line + "\n" for line in event.splitlines() if line.startswith("event:"))
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"
