"""Turns an HTTP request into an engine request: only here does `eah` become the flat options that the engine reads."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from eah_vllm.options import (
    WIRE_NAME,
    WIRE_PREFIX,
    EAHOptions,
    OptionError,
    from_extra_args,
    to_extra_args,
)
from eah_vllm.settings import ModelShape, resolve
from eah_vllm_server.names import ModelNames
from eah_vllm_server.schemas import EAHCompletionRequest, EAHRequest


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the HTTP layer knows about the engine behind it."""

    names: ModelNames
    shape: ModelShape
    defaults: EAHOptions
    refusal: str | None
    """The reason why no request can have EAH (one of `eah_vllm.report`), None when requests can have it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that asks for EAH."""

    report_tag: str | None
    """The tag under which the workers keep its report; None when no report was asked for."""
    refusal: str | None
    """The reason why the request cannot have EAH; None when it can."""


def to_engine_request(request: EAHRequest, by_alias: bool, model: ServedModel) -> Asked | None:
    """Read `eah`, and write the engine's options into `request.vllm_xargs`.

    An explicit `eah: false` wins over the alias.

    Args:
        request: the request; its `model` is a name that vLLM knows.
        by_alias: whether the name that the client sent switches EAH on.
        model: the served model.

    Raises:
        OptionError: an option that is impossible for this model, or cannot be combined with another field.
    """
    xargs = dict(request.vllm_xargs or {})
    flat = [name for name in xargs if name == WIRE_NAME or name.startswith(WIRE_PREFIX)]
    if flat and request.eah is not None:
        raise OptionError("vllm_xargs", f"holds {flat[0]} beside the field `eah`; send one of them")
    options = _options(request, xargs, by_alias)
    if options is None:
        return None
    if model.refusal is not None:
        return Asked(None, model.refusal)
    if getattr(request, "use_beam_search", False):
        raise OptionError("use_beam_search", "cannot be combined with eah; send one of them")
    settings = resolve(options, model.defaults, model.shape)
    tag = uuid.uuid4().hex if settings.report else None
    others = {name: value for name, value in xargs.items() if name not in flat}
    request.vllm_xargs = others | to_extra_args(options, tag)
    return Asked(tag, None)


def _options(request: EAHRequest, xargs: Mapping[str, object], by_alias: bool) -> EAHOptions | None:
    if isinstance(request.eah, EAHOptions):
        return request.eah
    if request.eah is not None:
        return EAHOptions() if request.eah else None
    wired = from_extra_args(xargs)
    if wired is not None:
        return wired[0]
    # A completion's prompt carries no image, so its alias is only another name of the model.
    return EAHOptions() if by_alias and not isinstance(request, EAHCompletionRequest) else None
