"""Adds a report to vLLM's reply: to the JSON object, or to the last chunk of a stream."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.responses import JSONResponse, Response, StreamingResponse

from eah_vllm.report import Report

FetchReport = Callable[[], Awaitable[Report]]
FetchReportIfAny = Callable[[], Awaitable[Report | None]]


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


async def add_report(response: Response, fetch: FetchReportIfAny, abandon: Callable[[], None]) -> Response:
    """Return the response with `eah` in it; call `abandon` if no client gets the report: an error, a broken stream."""
    if isinstance(response, StreamingResponse):
        response.body_iterator = _add_to_stream(response.body_iterator, fetch, abandon)
        return response
    if response.status_code >= 400:
        abandon()
        return response
    report = await fetch()
    if report is None:
        return response
    return with_body(response, json.loads(bytes(response.body)) | {"eah": report.to_dict()})


async def _add_to_stream(
    events: AsyncIterable[Any], fetch: FetchReportIfAny, abandon: Callable[[], None]
) -> AsyncIterator[str]:
    """Add the report to the last event of a stream; only events that may be the last are held back, so no token waits.

    In `/v1/messages` the report goes into `message_delta`, the one event after the last token that describes the whole
    message: Anthropic's client library rebuilds the `message_stop` that follows, and would lose the report.
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
            if held is not None and data is not None:
                yield held
                held = None
            if data is not None and data.get("type") == "message_delta" and not fetched:
                fetched = True
                yield _with_report(event, await fetch())
                continue
            if data is not None and _may_be_last(data):
                held = event
                continue
            if held is not None:
                fetched = True
                yield _with_report(held, await fetch())
                held = None
            yield event
        if held is not None:
            fetched = True
            yield _with_report(held, await fetch())
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


def _with_report(event: str, report: Report | None) -> str:
    if report is None:
        return event
    data = _data(event) or {}
    data["eah"] = report.to_dict()
    if isinstance(data.get("response"), dict):
        data["response"]["eah"] = data["eah"]
    head = "".join(line + "\n" for line in event.splitlines() if line.startswith("event:"))
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"
