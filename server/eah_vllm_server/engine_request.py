"""Turns an HTTP request into an engine request: only here do methods' fields become flat options of the engine."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from eah_vllm.method.registry import Asked, asked_for, resolve_all, with_field
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
    """Of every method."""
    enabled: Mapping[str, MethodOptions]
    """The same of the methods that requests may ask for."""
    refusal: str | None
    """The reason why no request can have a method (one of `eah_vllm.report`), None when requests can have them."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A method that a request asks for."""

    method: str
    report_tag: str | None
    """The tag under which the workers keep its report; None when no report was asked for."""
    refusal: str | None
    """The reason why the request cannot have the method; None when it can."""


def to_engine_request(request: EAHRequest, aliases: Collection[str], model: ServedModel) -> tuple[Applied, ...]:
    """Read the methods' fields, and write the engine's options into `request.vllm_xargs`.

    An explicit `eah: false` wins over the alias.

    Args:
        request: the request; its `model` is a name that vLLM knows.
        aliases: the methods that the name which the client sent switches on.
        model: the served model.

    Returns:
        The methods of the request, in the order of the registry; none for a plain request.

    Raises:
        OptionError: an option that is impossible for this model, or cannot be combined with another field or method.
    """
    xargs = dict(request.vllm_xargs or {})
    asked = _asked(request, xargs, aliases)
    if model.refusal is not None:
        return tuple(Applied(one.method.name, None, model.refusal) for one in asked)
    if asked and getattr(request, "use_beam_search", False):
        raise OptionError("use_beam_search", f"cannot be combined with {asked[0].method.name}; send one of them")
    resolve_all(asked, model.enabled, model.shape)
    applied = []
    for one in asked:
        name = one.method.name
        tag = uuid.uuid4().hex if one.options.over(model.defaults[name]).report else None
        others = {key: value for key, value in xargs.items() if not is_of(name, key)}
        xargs = others | to_extra_args(name, one.options, tag)
        applied.append(Applied(name, tag, None))
    if asked:
        request.vllm_xargs = xargs
    return tuple(applied)


def _asked(request: EAHRequest, xargs: Mapping[str, Any], aliases: Collection[str]) -> list[Asked]:
    """Return the methods that a request asks for by fields, in flat form or by an alias; none for a plain request."""
    fields = {name: said for name in with_field() if (said := getattr(request, name, None)) is not None}
    for name in fields:
        flat = [key for key in xargs if is_of(name, key)]
        if flat:
            raise OptionError("vllm_xargs", f"holds {flat[0]} beside the field `{name}`; send one of them")
    wired = {one.method.name: one for one in asked_for(xargs)}
    for name, one in wired.items():
        if not one.method.has_field:
            raise OptionError("vllm_xargs", f"holds {name}, which this route does not answer; it has its own")
    # A completion's prompt carries no image, so its alias is only another name of the model.
    by_alias = () if isinstance(request, EAHCompletionRequest) else aliases
    found = []
    for name, method in with_field().items():
        said = fields.get(name, name in by_alias)
        if name in wired:
            found.append(wired[name])
        elif said is not False:
            found.append(Asked(method, said if isinstance(said, MethodOptions) else method.Options(), None))
    return found
