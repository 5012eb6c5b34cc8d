"""Puts a check's report into a reply: into the JSON object, or into the last chunk of a stream."""

import json
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from eah_vllm_server.reply import add_to_stream, with_body
from eah_vllm_server.verify.answer import AnswerText
from eah_vllm_server.verify.disconnect import while_connected
from eah_vllm_server.verify.flow import Check
from eah_vllm_server.verify.options import FIELD


async def with_check(response: Response, check: Check, raw_request: Request) -> Response | None:
    """Return the reply with the report of its check, or None where the client left during the check."""
    answer = AnswerText()
    if isinstance(response, StreamingResponse):

        async def fetch() -> dict[str, Any]:
            return (await check.report(answer)).to_dict()

        response.body_iterator = add_to_stream(response.body_iterator, FIELD, fetch, see=answer.see)
        return response
    if response.status_code >= 400:
        return response
    body = json.loads(bytes(response.body))
    answer.see(body)
    report = await while_connected(raw_request, check.report(answer))
    return None if report is None else with_body(response, body | {FIELD: report.to_dict()})
