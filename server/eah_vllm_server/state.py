"""What the HTTP process holds between requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm.config import VllmConfig
from vllm.entrypoints.openai.models.serving import OpenAIServingModels

from eah_vllm.engine.config import all_defaults, enabled_methods, is_served_with_eah, model_shape
from eah_vllm.method.registry import METHODS, Asked, resolve_all
from eah_vllm.options import OptionError
from eah_vllm.report import DISABLED, UNSUPPORTED_MODEL
from eah_vllm.switch import is_disabled
from eah_vllm_server.background import BackgroundReports
from eah_vllm_server.collector import ReportCollector
from eah_vllm_server.engine_request import ServedModel
from eah_vllm_server.names import ModelNames, Modes, modes_of_aliases
from eah_vllm_server.verify.prepare import Verifier


@dataclass(slots=True)
class EAHState:
    """What our routes share; it is kept as `app.state.eah`."""

    model: ServedModel
    collector: ReportCollector
    engine: Mapping[str, Any]
    """EAH settings of the engine, and what limits EAH there."""
    runner: str
    """Model runner of the engine, "V1" or "V2"."""
    verifier: Verifier
    background: BackgroundReports = field(default_factory=BackgroundReports)
    counting: asyncio.Task[None] | None = None


def served_model(vllm_config: VllmConfig, serving: OpenAIServingModels) -> ServedModel:
    """Return what the HTTP layer needs from an engine's configuration, and from vLLM's list of names."""
    refusal = None
    if is_disabled():
        refusal = DISABLED
    elif not is_served_with_eah(vllm_config):
        refusal = UNSUPPORTED_MODEL
    shape, defaults, methods = (
        model_shape(vllm_config.model_config),
        all_defaults(vllm_config),
        enabled_methods(vllm_config),
    )
    enabled = {name: defaults[name] for name in methods}

    def fit(names: Modes) -> bool:
        try:
            resolve_all([Asked(METHODS[name], METHODS[name].Options(), None) for name in names], enabled, shape)
        except OptionError:
            return False
        return True

    modes = modes_of_aliases([name for name, method in methods.items() if method.has_field], fit)
    return ServedModel(ModelNames(serving, modes), shape, defaults, enabled, refusal)
