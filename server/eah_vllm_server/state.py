"""What the HTTP process holds between requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm.config import VllmConfig

from eah_vllm.engine.config import engine_defaults, model_shape
from eah_vllm.models import SUPPORTED_ARCHITECTURES
from eah_vllm.report import DISABLED, UNSUPPORTED_MODEL
from eah_vllm.switch import is_disabled
from eah_vllm_server.background import BackgroundReports
from eah_vllm_server.collector import ReportCollector
from eah_vllm_server.engine_request import ServedModel
from eah_vllm_server.names import ModelNames
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


def served_model(vllm_config: VllmConfig, names: ModelNames) -> ServedModel:
    """Return what the HTTP layer needs from an engine's configuration."""
    refusal = None
    if is_disabled():
        refusal = DISABLED
    elif vllm_config.model_config.architecture not in SUPPORTED_ARCHITECTURES:
        refusal = UNSUPPORTED_MODEL
    return ServedModel(names, model_shape(vllm_config.model_config), engine_defaults(vllm_config), refusal)
