"""Routes of vLLM that take no EAH and no check: they refuse `eah` and `verify` instead of ignoring them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator, ValidationInfo, model_validator
from vllm.entrypoints.anthropic.api_router import count_tokens
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest
from vllm.entrypoints.openai.chat_completion.api_router import create_batch_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import BatchChatCompletionRequest
from vllm.entrypoints.serve.utils.api_utils import validate_json_request
from vllm.exceptions import VLLMValidationError

from eah_vllm_server.hardening.media.anthropic_blocks import check_blocks
from eah_vllm_server.media_uuids import bind_uuids
from eah_vllm_server.misplaced import refuse_misplaced

router = APIRouter()


def _refuse(value: Any, info: ValidationInfo) -> None:
    if value not in (None, False):
        name = info.field_name
        raise VLLMValidationError(
            f"{name}: this route takes no {name}; use chat completions, responses or messages", parameter=name
        )


RefusedField = Annotated[None, BeforeValidator(_refuse)]


class CheckedCountTokensRequest(AnthropicCountTokensRequest):
    """Body of `POST /v1/messages/count_tokens`."""

    _check_blocks = model_validator(mode="before")(check_blocks)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


class NoEAHBatchRequest(BatchChatCompletionRequest):
    """Body of `POST /v1/chat/completions/batch`; it has no field `eah` and none for a check."""

    eah: RefusedField = None
    verify: RefusedField = None

    _bind_uuids = model_validator(mode="before")(bind_uuids)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


@router.post("/v1/messages/count_tokens", dependencies=[Depends(validate_json_request)])
async def count_tokens_of_messages(request: CheckedCountTokensRequest, raw_request: Request) -> Any:
    """Count the tokens of Anthropic-style messages."""
    return await count_tokens(request, raw_request)


@router.post("/v1/chat/completions/batch", dependencies=[Depends(validate_json_request)])
async def batch(request: NoEAHBatchRequest, raw_request: Request) -> Any:
    """Answer several chats in one request; EAH and checks are not offered here."""
    return await create_batch_chat_completion(request, raw_request)
