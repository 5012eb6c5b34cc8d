"""`GET /v1/eah`: what a client may ask of this server."""

from importlib.metadata import version
from typing import Any

import torch
import vllm

from eah_vllm.options import MAX_SEED, EAHOptions
from eah_vllm.settings import METHOD_VERSION, PRESETS
from eah_vllm.version import __version__
from eah_vllm_server.state import EAHState
from eah_vllm_server.verify.extractors import available_extractors, extractor_name
from eah_vllm_server.verify.options import LONGEST_QUESTION, MOST_ANSWERS, MOST_MENTIONS, VerifyOptions


def capabilities(state: EAHState) -> dict[str, Any]:
    """Return the answer to `GET /v1/eah` as JSON data: names, options with defaults and limits, engine, versions."""
    model, shape = state.model, state.model.shape
    preset = model.defaults.preset or "paper"
    return {
        "object": "eah.capabilities",
        "model": model.names.base()[0],
        "aliases": model.names.aliases(),
        "supported": model.refusal is None,
        "reason": model.refusal,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "defaults": model.defaults.over(PRESETS[preset]).model_dump(exclude_none=True),
        "engine": dict(state.engine),
        "presets": {name: options.model_dump(exclude_none=True) for name, options in PRESETS.items()},
        "limits": {
            "layer": [0, shape.num_layers - 1],
            "head": [0, shape.num_heads - 1],
            "seed": [0, MAX_SEED],
            "threshold": "greater than 0, less than 1",
            "relative_threshold": "greater than 0",
            "min_density": [0, 1],
        },
        "options": EAHOptions.model_json_schema()["properties"],
        "versions": {
            "eah_vllm": __version__,
            "method": METHOD_VERSION,
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "runner": state.runner,
        "verify": _checks(state),
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
