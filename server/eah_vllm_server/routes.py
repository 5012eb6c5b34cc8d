"""The routes that replace vLLM's of the same path, and `/v1/eah`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from vllm.entrypoints.anthropic.api_router import create_messages
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.completion.api_router import create_completion
from vllm.entrypoints.openai.responses.api_router import create_responses
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from eah_vllm.options import OptionError
from eah_vllm.report import EAHReport
from eah_vllm_server.capabilities import capabilities
from eah_vllm_server.engine_request import ALIAS_SUFFIX, to_engine_request
from eah_vllm_server.metrics import metrics
from eah_vllm_server.reply import add_report, when_over
from eah_vllm_server.schemas import (
    EAHChatCompletionRequest,
    EAHCompletionRequest,
    EAHMessagesRequest,
    EAHRequest,
    EAHResponsesRequest,
    refusal,
)
from eah_vllm_server.state import EAHState

router = APIRouter()
CoreRoute = Callable[[Any, Request], Awaitable[Response | None]]


async def _serve(request: EAHRequest, raw_request: Request, core_route: CoreRoute) -> Response | None:
    """Translate the request, let vLLM answer it, and add the report that was asked for."""
    state: EAHState = raw_request.app.state.eah
    try:
        asked = to_engine_request(request, state.model)
    except OptionError as error:
        raise refusal(error) from error
    if asked is None:
        return await core_route(request, raw_request)
    collector, tag = state.collector, asked.report_tag
    if asked.refusal is not None:
        metrics().count_requests(asked.refusal)
        refused = EAHReport(False, asked.refusal)

        async def fetch() -> EAHReport:
            return refused

        response = await core_route(request, raw_request)
        return None if response is None else await add_report(response, fetch, lambda: None)
    # Counts are fetched soon, and again at the end: by then the request has reached an engine.
    collector.expect_counts()
    at_end = collector.expect_counts if tag is None else partial(collector.abandon, tag)
    response = None
    try:
        response = await core_route(request, raw_request)
    finally:
        if response is None:  # an error, or the client went away
            at_end()
    if response is None:
        return None
    if tag is None:
        return when_over(response, at_end)
    return await add_report(response, partial(collector.report, tag), at_end)


@router.post("/v1/chat/completions", dependencies=[Depends(validate_json_request)])
async def chat_completions(request: EAHChatCompletionRequest, raw_request: Request) -> Any:
    """VLLM's chat completions with `eah`."""
    return await _serve(request, raw_request, create_chat_completion)


@router.post("/v1/completions", dependencies=[Depends(validate_json_request)])
async def completions(request: EAHCompletionRequest, raw_request: Request) -> Any:
    """VLLM's completions; the alias is answered as the plain model, and `eah` is refused."""
    return await _serve(request, raw_request, create_completion)


@router.post("/v1/responses", dependencies=[Depends(validate_json_request)])
async def responses(request: EAHResponsesRequest, raw_request: Request) -> Any:
    """VLLM's responses with `eah`."""
    return await _serve(request, raw_request, create_responses)


@router.post("/v1/messages", dependencies=[Depends(validate_json_request)])
async def messages(request: EAHMessagesRequest, raw_request: Request) -> Any:
    """VLLM's Anthropic-style messages with `eah`."""
    return await _serve(request, raw_request, create_messages)


@router.get("/v1/models")
async def models(raw_request: Request) -> Any:
    """VLLM's model list, and an alias that switches EAH on for every served name."""
    listed = await raw_request.app.state.openai_serving_models.show_available_models()
    names = raw_request.app.state.eah.model.names
    aliases = [card.model_copy(update={"id": card.id + ALIAS_SUFFIX}) for card in listed.data if card.id in names]
    return JSONResponse(listed.model_copy(update={"data": listed.data + aliases}).model_dump())


@router.get("/v1/eah")
async def describe(raw_request: Request) -> Any:
    """What EAH can do on this server."""
    return JSONResponse(capabilities(raw_request.app.state.eah))
