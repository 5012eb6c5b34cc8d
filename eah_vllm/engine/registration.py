"""Hands our classes to vLLM: a model class and a config hook for each architecture."""

from vllm import ModelRegistry
from vllm.model_executor.models.config import MODELS_CONFIG_MAP

from eah_vllm.engine.config import EAHConfigHook
from eah_vllm.models import SUPPORTED_ARCHITECTURES


def register_models() -> None:
    """Let vLLM serve the supported architectures through our classes, in this process, from now on."""
    for architecture, model_class in SUPPORTED_ARCHITECTURES.items():
        ModelRegistry.register_model(architecture, model_class)
        MODELS_CONFIG_MAP[architecture] = EAHConfigHook
