"""Says which models are loaded with EAH, and names our classes of them to vLLM's registry."""

from typing import Any

import vllm
from vllm import ModelRegistry
from vllm.config import ModelConfig, VllmConfig

from eah_vllm.models import MODELS, SUPPORTED_ARCHITECTURES

OURS = "eah_vllm.engine.model"


def has_mechanism(model_config: ModelConfig, *, any_model: bool) -> bool:
    """Whether EAH can be asked for: the architecture has a row, or takes images and the server tries `any_model`."""
    row = MODELS.get(model_config.architecture)
    if model_config.runner_type != "generate":
        return False
    return row.mechanism if row is not None else any_model and model_config.is_multimodal_model


def register_rows() -> None:
    """Let vLLM load the architectures of the table with EAH, in this process, from now on; it may be called twice."""
    for architecture in SUPPORTED_ARCHITECTURES:
        if not _is_ours(architecture):
            ModelRegistry.register_model(architecture, _our_name(architecture))


def register_untried(vllm_config: VllmConfig) -> None:
    """Let vLLM load the served architecture, which has no row, with EAH; it may be called twice.

    By now vLLM has looked its class up and remembers it by the names in the checkpoint's configuration. So our class
    gets a name of its own there, in front, which the other processes of the server do not know and so pass over.
    """
    model_config = vllm_config.model_config
    if model_config.architecture in MODELS:
        return
    ours, known = "EAH" + model_config.architecture, model_config.hf_config.architectures or []
    ModelRegistry.register_model(ours, _our_name(model_config.architecture))
    if ours not in known:
        model_config.hf_config.architectures = [ours, *known]


def _is_ours(architecture: str) -> bool:
    return getattr(ModelRegistry.models[architecture], "module_name", None) == OURS


def _our_name(architecture: str) -> str:
    """Name our class after vLLM's; no file of a model is imported.

    The version is in it because vLLM keeps what it knows of a class on disk, under its name, until our file changes.
    """
    known: Any = ModelRegistry.models[architecture]
    if hasattr(known, "module_name"):  # named, and not imported yet
        theirs = f"{known.module_name}.{known.class_name}"
    else:
        theirs = f"{known.model_cls.__module__}.{known.model_cls.__qualname__}"
    return f"{OURS}:{theirs}@{vllm.__version__}"
