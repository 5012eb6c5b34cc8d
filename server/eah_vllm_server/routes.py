"""The routes that replace vLLM's routes of the same path, and `/v1/eah`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from vllm.entrypoints.anthropic.api_router import create_messages
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.api_router import create_completion
from vllm.entrypoints.openai.responses.api_router import create_responses, retrieve_responses
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from eah_vllm.options import OptionError
from eah_vllm.report import Report
from eah_vllm_server.background import is_answered
from eah_vllm_server.capabilities import capabilities
from eah_vllm_server.collector import ReportCollector
from eah_vllm_server.engine_request import Applied, to_engine_request
from eah_vllm_server.hardening.media.kept import keeping
from eah_vllm_server.metrics import metrics
from eah_vllm_server.refusal import refusal, verify_refusal
from eah_vllm_server.reply import FetchReports, add_reports, when_over
from eah_vllm_server.schemas import (
    EAHChatCompletionRequest,
    EAHCompletionRequest,
    EAHMessagesRequest,
    EAHRequest,
    EAHResponsesRequest,
)
from eah_vllm_server.state import EAHState
from eah_vllm_server.verify.best_of import answer_all, copies
from eah_vllm_server.verify.reply import with_check

router = APIRouter()
CoreRoute = Callable[[Any, Request], Awaitable[Response | None]]


async def _serve(request: EAHRequest, raw_request: Request, core_route: CoreRoute) -> Response | None:
    """Translate the request, let vLLM answer it, and add the reports that were asked for."""
    state: EAHState = raw_request.app.state.eah
    model = request.model
    request.model, modes = state.model.names.resolve(model)
    try:
        check = state.verifier.prepare(request, "verify" in modes)
    except OptionError as error:
        raise verify_refusal(error) from error
    requests = [request] if check is None else copies(request, check.answers)
    try:
        asked = [to_engine_request(one, modes, state.model) for one in requests]
    except OptionError as error:
        raise refusal(error) from error
    serving = [partial(serve_applied, *both, raw_request, core_route) for both in zip(asked, requests, strict=True)]
    if check is None:
        response = await serving[0]()
    else:
        with keeping(check.calls.kept):
            replies = await answer_all(state.verifier.gate, serving)
            response = await with_check(replies, check, raw_request) if isinstance(replies, list) else replies
    return None if response is None else state.model.names.explain(response, model)


async def serve_applied(
    asked: Sequence[Applied], request: EAHRequest | ChatCompletionRequest, raw_request: Request, core_route: CoreRoute
) -> Response | None:
    """Let vLLM answer a request whose options the engine reads, and add the reports that were asked for."""
    if not asked:
        return await core_route(request, raw_request)
    state: EAHState = raw_request.app.state.eah
    collector = state.collector
    refused = {one.method: one.refusal for one in asked if one.refusal is not None}
    tags = {one.method: one.report_tag for one in asked if one.report_tag is not None}
    fetch: FetchReports | None
    at_end: Callable[[], None]
    if refused:
        for method, reason in refused.items():
            metrics().count_requests(method, reason)
        fetch, at_end = partial(_refused, refused), _nothing
    else:
        # Counts are fetched soon, and again at the end: by then the request has reached an engine.
        collector.expect_counts()
        fetch = partial(collector.reports, tags) if tags else None
        at_end = partial(_unreported, collector, tags)
    response = None
    try:
        response = await core_route(request, raw_request)
    finally:
        if response is None:  # an error, or the client went away
            at_end()
    if response is None:
        return None
    if isinstance(request, EAHResponsesRequest) and request.background and response.status_code < 400:
        # Nothing has run yet: vLLM answers "queued", or streams what it keeps.
        serving = raw_request.app.state.openai_serving_responses
        state.background.follow(serving, request.request_id, fetch, at_end)
        if fetch is None or not isinstance(response, StreamingResponse):
            return response
        background = partial(state.background.reports, serving, request.request_id)
        return await add_reports(response, background, _nothing)
    if fetch is None:
        return when_over(response, at_end)
    return await add_reports(response, fetch, at_end)


async def _refused(reasons: Mapping[str, str]) -> Mapping[str, Report]:
    return {method: Report(False, reason) for method, reason in reasons.items()}


def _unreported(collector: ReportCollector, tags: Mapping[str, str]) -> None:
    """Forget reports that nobody will fetch, and fetch the counts."""
    for tag in tags.values():
        collector.abandon(tag)
    collector.expect_counts()


def _nothing() -> None:
    """Do nothing at the end of a response, where nobody waits for it."""


@router.post("/v1/chat/completions", dependencies=[Depends(validate_json_request)])
async def chat_completions(request: EAHChatCompletionRequest, raw_request: Request) -> Any:
    """Answer a chat; the field `eah` switches EAH on, and `verify` has the answer checked."""
    return await _serve(request, raw_request, create_chat_completion)


@router.post("/v1/completions", dependencies=[Depends(validate_json_request)])
async def completions(request: EAHCompletionRequest, raw_request: Request) -> Any:
    """Complete a prompt of text: an alias answers as the plain model does; `eah` and `verify` are refused."""
    return await _serve(request, raw_request, create_completion)


@router.post("/v1/responses", dependencies=[Depends(validate_json_request)])
async def responses(request: EAHResponsesRequest, raw_request: Request) -> Any:
    """Create a response in OpenAI's Responses API; `eah` switches EAH on, and `verify` has the answer checked."""
    return await _serve(request, raw_request, create_responses)


@router.post("/v1/messages", dependencies=[Depends(validate_json_request)])
async def messages(request: EAHMessagesRequest, raw_request: Request) -> Any:
    """Answer Anthropic-style messages; the field `eah` switches EAH on, and `verify` has the answer checked."""
    return await _serve(request, raw_request, create_messages)


@router.get("/v1/responses/{response_id}")
async def stored_response(
    response_id: str, raw_request: Request, starting_after: int | None = None, stream: bool | None = False
) -> Any:
    """Return a stored response; one that was answered in the background carries its reports, as `eah` and so on."""
    response = await retrieve_responses(response_id, raw_request, starting_after, stream)
    state: EAHState = raw_request.app.state.eah
    serving = raw_request.app.state.openai_serving_responses
    if not isinstance(response, StreamingResponse) and not is_answered(response):
        return response
    return await add_reports(response, partial(state.background.reports, serving, response_id), _nothing)


@router.get("/v1/models")
async def models(raw_request: Request) -> Any:
    """List the models, and for each name the aliases that switch EAH or a check on."""
    listed = await raw_request.app.state.openai_serving_models.show_available_models()
    cards = raw_request.app.state.eah.model.names.cards(listed.data)
    return JSONResponse(listed.model_copy(update={"data": cards}).model_dump())


@router.get("/v1/eah")
async def describe(raw_request: Request) -> Any:
    """Describe what EAH can do on this server."""
    return JSONResponse(capabilities(raw_request.app.state.eah))
