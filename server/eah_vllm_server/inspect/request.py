"""The body of an inspection: that of a chat completion, with what is to be counted in `eah`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMValidationError

from eah_vllm.method.registry import METHODS, with_field
from eah_vllm.options import EAHOptions, InspectOptions, OptionError, parse_options, shown
from eah_vllm.wire import is_of, to_extra_args
from eah_vllm_server.engine_request import ServedModel
from eah_vllm_server.media_uuids import bind_uuids
from eah_vllm_server.metrics import metrics
from eah_vllm_server.misplaced import refuse_misplaced
from eah_vllm_server.schemas import refuse_huge_numbers
from eah_vllm_server.verify.options import FIELD as VERIFY

METHOD = "inspect"
FIELD = "eah"
ONE_TOKEN: dict[str, Any] = {
    "max_tokens": None, "max_completion_tokens": 1, "min_tokens": 0, "stop": [], "logprobs": False, "top_logprobs": 0,
    "prompt_logprobs": None, "response_format": None, "structured_outputs": None,
}  # fmt: skip
"""What a body says about its answer is left out: of the answer, nothing but one token is computed."""


def refused(error: OptionError) -> VLLMValidationError:
    """Count a refused inspection, and return vLLM's error for it, which is answered with 400 and the field's name."""
    metrics().count_requests(METHOD, "refused")
    return VLLMValidationError(str(error), parameter=error.field)


def _read(value: Any) -> InspectOptions:
    if value is None or value is True:
        return InspectOptions()
    if isinstance(value, InspectOptions):
        return value
    try:
        if isinstance(value, dict):
            return parse_options(value, f"{FIELD}.", InspectOptions)
        raise OptionError(FIELD, f"must be an object of options, got {shown(value)}")
    except OptionError as error:
        raise refused(error) from error


def _refuse_other_fields(fields: Any) -> Any:
    for name in (*with_field(), VERIFY) if isinstance(fields, dict) else ():
        if name != FIELD and fields.get(name) not in (None, False):
            raise refused(OptionError(name, f"this route takes no {name}; it changes and checks nothing"))
    return fields


class InspectRequest(ChatCompletionRequest):
    """Body of `POST /v1/eah/inspect`: a chat completion's, of which the prompt alone is computed."""

    eah: Annotated[InspectOptions, BeforeValidator(_read)] = Field(
        InspectOptions(), description="the thresholds; with `layer` and `head` also the map of that head"
    )

    _bind_uuids = model_validator(mode="before")(bind_uuids)
    _refuse_huge_numbers = model_validator(mode="before")(refuse_huge_numbers)
    _refuse_misplaced = model_validator(mode="before")(refuse_misplaced)
    _refuse_other_fields = model_validator(mode="before")(_refuse_other_fields)


def to_engine(request: InspectRequest, model: ServedModel, tag: str) -> InspectOptions:
    """Write the engine's options into `request.vllm_xargs`, leave out what is about the answer, and return the options.

    Without a threshold, the server's own counts: the one that EAH would use.

    Args:
        request: the request; its `model` is a name that vLLM knows.
        model: the served model.
        tag: name of the report.

    Raises:
        OptionError: an option is impossible for this model, or a field has no meaning here.
    """
    if model.refusal is not None:
        raise OptionError(FIELD, f"this server inspects nothing: {model.refusal}; docs/models.md lists the models")
    _refuse_impossible(request)
    options: InspectOptions = request.eah.over(_default_threshold(model))
    METHODS[METHOD].resolve(options, model.defaults[METHOD], model.shape, prefix=f"{FIELD}.")
    for name, value in ONE_TOKEN.items():
        setattr(request, name, value)
    request.vllm_xargs = dict(request.vllm_xargs or {}) | to_extra_args(METHOD, options, tag)
    return options


def _default_threshold(model: ServedModel) -> InspectOptions:
    # Layer and head do not matter here, and where EAH is not enabled nobody has checked the server's.
    said = EAHOptions(layer=0, head="auto")
    settings: Any = METHODS["eah"].resolve(said, model.defaults["eah"], model.shape)
    if settings.relative_threshold is not None:
        return InspectOptions(relative_thresholds=[settings.relative_threshold])
    return InspectOptions(thresholds=[settings.threshold])


def _refuse_impossible(request: InspectRequest) -> None:
    if request.stream:
        raise OptionError("stream", "an inspection is answered whole; leave it out, got true")
    if (request.n or 1) > 1:
        raise OptionError("n", f"an inspection looks at the prompt once; leave it out, got {request.n}")
    if request.use_beam_search:
        raise OptionError("use_beam_search", "an inspection looks at the prompt alone; leave it out, got true")
    if request.tool_choice not in (None, "none", "auto"):
        raise OptionError("tool_choice", f"must be none or auto here, got {shown(request.tool_choice)}")
    flat = [key for key in request.vllm_xargs or {} for method in METHODS if is_of(method, key)]
    if flat:
        raise OptionError("vllm_xargs", f"holds {flat[0]}, which is not read here; send the field {FIELD}")
