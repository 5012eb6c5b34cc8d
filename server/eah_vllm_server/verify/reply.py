"""Puts a check's report into a reply: into the JSON object, or into the last chunk of a stream."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from eah_vllm_server.reply import add_to_stream, with_body
from eah_vllm_server.verify.answer import AnswerText, text_places
from eah_vllm_server.verify.disconnect import while_connected
from eah_vllm_server.verify.flow import Check
from eah_vllm_server.verify.options import FIELD


async def with_check(replies: Sequence[Response], check: Check, raw_request: Request) -> Response | None:
    """Return the reply with the report of its check, or None where the client left during the check.

    Args:
        replies: the reply; or those that `best_of` sampled, of which one is returned.
        check: the check of the request.
        raw_request: the request, whose client may leave.
    """
    answers = [AnswerText() for _ in replies]
    first = replies[0]
    if isinstance(first, StreamingResponse):

        async def fetch() -> dict[str, Any]:
            return {} if answers[0].failed else {FIELD: (await check.report(answers)).to_dict()}

        first.body_iterator = add_to_stream(first.body_iterator, fetch, see=answers[0].see)
        return first
    if first.status_code >= 400:
        return first
    bodies = [json.loads(bytes(reply.body)) for reply in replies]
    for answer, body in zip(answers, bodies, strict=True):
        answer.see(body)
    report = await while_connected(raw_request, check.report(answers))
    if report is None:
        return None
    report.usage = [body.get("usage") for body in bodies]
    reply, body = replies[report.chosen], bodies[report.chosen]
    if report.result is not None:
        ((holder, name),) = text_places(body)
        holder[name] = report.result
    return with_body(reply, body | {FIELD: report.to_dict()})
