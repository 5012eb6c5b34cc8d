"""The route of the inspector: through the same gate, rendering and limits as a chat completion, and then the engine."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from eah_vllm.models import row_of
from eah_vllm.options import OptionError
from eah_vllm.report import DETAILS, NOT_RUN
from eah_vllm_server.engine_request import Applied
from eah_vllm_server.hardening.media.checked_renderer import ON_PROMPT
from eah_vllm_server.hardening.media.kept import Kept, keeping
from eah_vllm_server.inspect.answer import Inspection, inspection
from eah_vllm_server.inspect.grid import vision_of
from eah_vllm_server.inspect.prompt import SeenPrompt
from eah_vllm_server.inspect.request import METHOD, InspectRequest, refused, to_engine
from eah_vllm_server.routes import serve_applied
from eah_vllm_server.state import EAHState

router = APIRouter()
ANSWERS: dict[int | str, dict[str, Any]] = {HTTPStatus.OK.value: {"model": Inspection}}
ANSWERS |= {
    status.value: {"model": ErrorResponse}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}


@router.post("/v1/eah/inspect", dependencies=[Depends(validate_json_request)], responses=ANSWERS)
async def inspect(request: InspectRequest, raw_request: Request) -> Any:
    """Say how many image tokens each head of each layer sees as vision sinks, at several thresholds; change nothing."""
    state: EAHState = raw_request.app.state.eah
    named = request.model
    request.model, _ = state.model.names.resolve(named)
    tag = uuid.uuid4().hex
    try:
        options = to_engine(request, state.model, tag)
    except OptionError as error:
        raise refused(error) from error
    kept, seen = Kept(), SeenPrompt(state.engine["row"]["modalities"], state.engine["max_whole_prompt"])
    with keeping(kept), _looking(seen):
        response = await serve_applied([Applied(METHOD, tag, None)], request, raw_request, create_chat_completion)
    if response is None or response.status_code >= 400:
        return None if response is None else state.model.names.explain(response, named)
    reply = json.loads(bytes(response.body))
    report = reply[METHOD]
    if not report["layers"]:
        raise refused(_why_not(report))
    sizes = kept.sizes()
    if len(sizes) == len(seen.pictures):
        pairs = zip(seen.pictures, sizes, strict=True)
        seen.pictures = tuple(replace(picture, size=size) for picture, size in pairs)
    vision = vision_of(*_of_the_model(raw_request))
    grid = row_of(state.engine["row"]["architecture"]).grid
    return JSONResponse(inspection(reply["model"], options, seen, report["layers"], grid, vision))


@contextmanager
def _looking(seen: SeenPrompt) -> Iterator[None]:
    def look(prompt: Any) -> None:
        try:
            seen.look(prompt)
        except OptionError as error:
            raise refused(error) from error

    token = ON_PROMPT.set(look)
    try:
        yield
    finally:
        ON_PROMPT.reset(token)


def _why_not(report: Any) -> OptionError:
    reason = report["reason"] or NOT_RUN
    detail = report.get("detail") or DETAILS.get(reason)
    return OptionError("messages", f"cannot be inspected: {reason}" + (f" ({detail})" if detail else ""))


def _of_the_model(raw_request: Request) -> tuple[Any, Any]:
    """Return the model's Hugging Face configuration and its image processor."""
    renderer = raw_request.app.state.online_renderer.renderer
    processor = renderer.get_mm_processor().info.get_hf_processor()
    return renderer.model_config.hf_config, getattr(processor, "image_processor", None)
