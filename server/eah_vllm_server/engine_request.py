"""Turns an HTTP request into an engine request: only here does a method's field become flat options of the engine."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eah_vllm.method.registry import METHODS, Asked, asked_for, with_field
from eah_vllm.options import MethodOptions, OptionError
from eah_vllm.settings import ModelShape
from eah_vllm.wire import is_of, to_extra_args
from eah_vllm_server.names import ModelNames
from eah_vllm_server.schemas import EAHCompletionRequest, EAHRequest


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the HTTP layer knows about the engine behind it."""

    names: ModelNames
    shape: ModelShape
    defaults: Mapping[str, MethodOptions]
    """By method."""
    refusal: str | None
    """The reason why no request can have a method (one of `eah_vllm.report`), None when requests can have them."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A request that asks for a method."""

    method: str
    report_tag: str | None
    """The tag under which the workers keep its report; None when no report was asked for."""
    refusal: str | None
    """The reason why the request cannot have the method; None when it can."""


def to_engine_request(request: EAHRequest, alias: str | None, model: ServedModel) -> Applied | None:
    """Read the methods' fields, and write the engine's options into `request.vllm_xargs`.

    An explicit `eah: false` wins over the alias.

    Args:
        request: the request; its `model` is a name that vLLM knows.
        alias: the method that the name which the client sent switches on, None if it is none.
        model: the served model.

    Raises:
        OptionError: an option that is impossible for this model, or cannot be combined with another field.
    """
    xargs = dict(request.vllm_xargs or {})
    asked = _asked(request, xargs, alias)
    if asked is None:
        return None
    name = asked.method.name
    if model.refusal is not None:
        return Applied(name, None, model.refusal)
    if getattr(request, "use_beam_search", False):
        raise OptionError("use_beam_search", f"cannot be combined with {name}; send one of them")
    asked.method.resolve(asked.options, model.defaults[name], model.shape)
    tag = uuid.uuid4().hex if asked.options.over(model.defaults[name]).report else None
    others = {key: value for key, value in xargs.items() if not is_of(name, key)}
    request.vllm_xargs = others | to_extra_args(name, asked.options, tag)
    return Applied(name, tag, None)


def _asked(request: EAHRequest, xargs: Mapping[str, Any], alias: str | None) -> Asked | None:
    """Return the method that a request asks for by a field, in flat form or by an alias; None for a plain request."""
    fields = {name: said for name in with_field() if (said := getattr(request, name, None)) is not None}
    for name in fields:
        flat = [key for key in xargs if is_of(name, key)]
        if flat:
            raise OptionError("vllm_xargs", f"holds {flat[0]} beside the field `{name}`; send one of them")
    found = list(asked_for(xargs))
    for one in found:
        if not one.method.has_field:
            message = f"holds {one.method.name}, which this route does not answer; it has its own"
            raise OptionError("vllm_xargs", message)
    for name, said in fields.items():
        options = said if isinstance(said, MethodOptions) else METHODS[name].Options()
        found += [Asked(METHODS[name], options, None)] if said is not False else []
    # A completion's prompt carries no image, so its alias is only another name of the model.
    if alias is not None and alias not in fields and not isinstance(request, EAHCompletionRequest):
        method = METHODS[alias]
        found += [Asked(method, method.Options(), None)] if all(one.method is not method for one in found) else []
    if len(found) > 1:
        raise OptionError(found[1].method.name, f"cannot be combined with {found[0].method.name}; send one of them")
    return found[0] if found else None
