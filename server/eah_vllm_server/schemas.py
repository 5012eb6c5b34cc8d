"""vLLM's request models with the typed field `verify` and one for each method: `eah`, and those of other packages."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, create_model, model_validator
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.exceptions import VLLMValidationError

from eah_vllm.method.registry import METHODS, with_field
from eah_vllm.options import EAHOptions, MethodOptions, OptionError, parse_options, shown
from eah_vllm_server.hardening.media.anthropic_blocks import check_blocks
from eah_vllm_server.media_uuids import bind_uuids
from eah_vllm_server.misplaced import refuse_misplaced
from eah_vllm_server.refusal import refusal, verify_refusal
from eah_vllm_server.verify.options import FIELD as VERIFY
from eah_vllm_server.verify.options import VerifyOptions, parse_verify


def _read(value: Any, info: ValidationInfo) -> bool | MethodOptions | None:
    if value is None or isinstance(value, bool | MethodOptions):
        return value
    method = METHODS[str(info.field_name)]
    try:
        if isinstance(value, dict):
            return parse_options(value, f"{method.name}.", method.Options)
        raise OptionError(method.name, f"must be true, false or an object of options, got {shown(value)}")
    except OptionError as error:
        raise refusal(error) from error


MAX_LENGTH_PENALTY = 50
"""vLLM's beam search divides by length ** length_penalty: a million tokens to the 50th just fits into a float."""


def refuse_huge_numbers(fields: Any) -> Any:
    """Refuse numbers that vLLM answers with 500.

    These are integers that do not fit into the 64 bits in which they travel to the engine (`top_k`), and penalties of
    length for which it divides by 0.
    """
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise VLLMValidationError(f"{name} does not fit into 64 bits: {shown(value)}", parameter=name)
        if name == "length_penalty" and isinstance(value, int | float) and not abs(value) <= MAX_LENGTH_PENALTY:
            bound = f"must lie between -{MAX_LENGTH_PENALTY} and {MAX_LENGTH_PENALTY}"
            raise VLLMValidationError(f"{name} {bound}, got {shown(value)}", parameter=name)
    return fields


EAHField = Annotated[
    bool | EAHOptions | None,
    BeforeValidator(_read),
    Field(description="EAH on or off, or on with these options; `report: true` returns what was done"),
]


def _read_verify(value: Any) -> bool | VerifyOptions | None:
    if value is None or isinstance(value, bool | VerifyOptions):
        return value
    try:
        return parse_verify(value)
    except OptionError as error:
        raise verify_refusal(error) from error


VerifyField = Annotated[
    bool | VerifyOptions | None,
    BeforeValidator(_read_verify),
    Field(description="ask the model about each object that its answer names, with these options or the server's"),
]


def _refuse_for_text(value: Any, info: ValidationInfo) -> Any:
    if value is None or value is False:
        return value
    name = str(info.field_name)
    refused = "its prompts carry no image; use chat completions, responses or messages"
    error = OptionError(name, f"this route takes no {name}, since {refused}")
    raise verify_refusal(error) if name == VERIFY else refusal(error)


RefusedForText = Annotated[Literal[False] | None, BeforeValidator(_refuse_for_text)]


class EAHChatCompletionRequest(ChatCompletionRequest):
    """Body of `POST /v1/chat/completions`."""

    eah: EAHField = None
    verify: VerifyField = None

    _bind_uuids = model_validator(mode="before")(bind_uuids)
    _refuse_huge_numbers = model_validator(mode="before")(refuse_huge_numbers)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


class EAHCompletionRequest(CompletionRequest):
    """Body of `POST /v1/completions`, whose prompts are texts or token ids."""

    eah: RefusedForText = None
    verify: RefusedForText = None

    _refuse_huge_numbers = model_validator(mode="before")(refuse_huge_numbers)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


class EAHResponsesRequest(ResponsesRequest):
    """Body of `POST /v1/responses`."""

    eah: EAHField = None
    verify: VerifyField = None

    _bind_uuids = model_validator(mode="before")(bind_uuids)
    _refuse_huge_numbers = model_validator(mode="before")(refuse_huge_numbers)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


class EAHMessagesRequest(AnthropicMessagesRequest):
    """Body of `POST /v1/messages`, Anthropic's form of a chat."""

    eah: EAHField = None
    verify: VerifyField = None

    _check_blocks = model_validator(mode="before")(check_blocks)
    _refuse_huge_numbers = model_validator(mode="before")(refuse_huge_numbers)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)


def _with_other_methods(schema: type[BaseModel]) -> type[BaseModel]:
    """Return the schema with a field for each method that another package has registered."""
    others: dict[str, Any] = {}
    for name, method in with_field().items():
        if name in schema.model_fields:
            continue
        if schema is EAHCompletionRequest:
            others[name] = (RefusedForText, None)
        else:
            described = Field(description=f"{name} on or off, or on with these options")
            kind: Any = bool | method.Options | None
            others[name] = (Annotated[kind, BeforeValidator(_read), described], None)
    return create_model(schema.__name__, __base__=schema, **others) if others else schema


if not TYPE_CHECKING:
    EAHChatCompletionRequest = _with_other_methods(EAHChatCompletionRequest)
    EAHCompletionRequest = _with_other_methods(EAHCompletionRequest)
    EAHResponsesRequest = _with_other_methods(EAHResponsesRequest)
    EAHMessagesRequest = _with_other_methods(EAHMessagesRequest)

EAHRequest = EAHChatCompletionRequest | EAHCompletionRequest | EAHResponsesRequest | EAHMessagesRequest
