"""Routes of vLLM that take no method and no check: they refuse `eah` and `verify` instead of ignoring them."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import model_validator
from vllm.entrypoints.anthropic.api_router import count_tokens
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest
from vllm.entrypoints.openai.chat_completion.api_router import create_batch_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import BatchChatCompletionRequest
from vllm.entrypoints.serve.utils.api_utils import validate_json_request
from vllm.exceptions import VLLMValidationError

from eah_vllm.method.registry import with_field
from eah_vllm_server.hardening.media.anthropic_blocks import check_blocks
from eah_vllm_server.media_uuids import bind_uuids
from eah_vllm_server.misplaced import refuse_misplaced
from eah_vllm_server.verify.options import FIELD as VERIFY

router = APIRouter()


def _refuse_switches(fields: Any) -> Any:
    for name in (*with_field(), VERIFY) if isinstance(fields, dict) else ():
        if fields.get(name) not in (None, False):
            raise VLLMValidationError(
                f"{name}: this route takes no {name}; use chat completions, responses or messages", parameter=name
            )
    return fields


class CheckedCountTokensRequest(AnthropicCountTokensRequest):
    """Body of `POST /v1/messages/count_tokens`."""

    _check_blocks = model_validator(mode="before")(check_blocks)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


class NoEAHBatchRequest(BatchChatCompletionRequest):
    """Body of `POST /v1/chat/completions/batch`; it has no field for a method and none for a check."""

    _refuse_switches = model_validator(mode="before")(_refuse_switches)
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
