"""`GET /v1/eah`: what a client may ask of this server."""

from importlib.metadata import version
from typing import Any

import torch
import vllm

from eah_vllm.method.registry import METHODS, with_field
from eah_vllm.options import MOST_THRESHOLDS, OptionError
from eah_vllm.settings import EAHSettings
from eah_vllm.version import __version__
from eah_vllm_server.engine_request import ServedModel
from eah_vllm_server.state import EAHState
from eah_vllm_server.verify.extractors import available_extractors, extractor_name
from eah_vllm_server.verify.options import LONGEST_QUESTION, MOST_ANSWERS, MOST_MENTIONS, VerifyOptions


def capabilities(state: EAHState) -> dict[str, Any]:
    """Return the answer to `GET /v1/eah` as JSON data: names, options with defaults and limits, engine, versions."""
    model, shape = state.model, state.model.shape
    methods = {name: _method(name, model) for name in with_field()}
    return {
        "object": "eah.capabilities",
        "model": model.names.base()[0],
        "aliases": model.names.aliases(),
        "supported": model.refusal is None,
        "reason": model.refusal,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "row": state.engine["row"],
        "engine": {name: fact for name, fact in state.engine.items() if name != "row"},
        # EAH was the only method once, so its facts also stand at the top.
        **{name: fact for name, fact in methods["eah"].items() if name != "enabled"},
        "methods": methods,
        "versions": {
            "eah_vllm": __version__,
            "method": EAHSettings.VERSION,
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "runner": state.runner,
        "verify": _checks(state),
        "inspect": _inspector(state),
    }


def _method(name: str, model: ServedModel) -> dict[str, Any]:
    """Describe a method that a field switches on."""
    method = METHODS[name]
    facts: dict[str, Any] = {
        "enabled": name in model.enabled,
        "options": method.Options.model_json_schema()["properties"],
    }
    try:
        return facts | dict(method.describe(model.defaults[name], model.shape))
    except OptionError as error:  # nobody has checked the defaults of a method that is not enabled
        return facts | {"reason": str(error)}


def _inspector(state: EAHState) -> dict[str, Any]:
    """Describe the inspector, which a route of its own answers."""
    method, shape = METHODS["inspect"], state.model.shape
    options = method.Options.model_json_schema()["properties"]
    said = method.describe(state.model.defaults["inspect"], shape)
    limits = said["limits"] | {"thresholds": MOST_THRESHOLDS}
    return {
        "route": "/v1/eah/inspect",
        "limits": limits,
        "options": {n: o for n, o in options.items() if n != "report"},
    }


def _checks(state: EAHState) -> dict[str, Any]:
    """Describe checks of answers (`verify`); the list of objects may be long, so only its length is told."""
    defaults = state.verifier.defaults
    said = defaults.model_dump(exclude_none=True, exclude={"objects"}) | {"extractor": extractor_name(defaults)}
    return {
        "routes": ["/v1/chat/completions", "/v1/responses", "/v1/messages"],
        "extractors": available_extractors(),
        "defaults": said | {"objects": len(defaults.objects or ())},
        "streams": ["report"],
        "limits": {
            "threshold": [0, 1],
            "max_mentions": [1, MOST_MENTIONS],
            "n": [2, MOST_ANSWERS],
            "question": LONGEST_QUESTION,
        },
        "options": VerifyOptions.model_json_schema()["properties"],
    }
