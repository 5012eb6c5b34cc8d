"""Hands our classes to vLLM: a model class for each row of the table, a config hook for each architecture."""

from vllm import ModelRegistry
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig

from eah_vllm.engine.hook import EAHConfigHook, config_hook
from eah_vllm.engine.served_class import register_rows


def register_models() -> None:
    """Let vLLM load the models of the table with EAH, in this process, from now on.

    The hook stands also before architectures without a row, and leaves them alone unless `eah.any_model` is set.
    """
    register_rows()
    for architecture in ModelRegistry.get_supported_archs():
        theirs = MODELS_CONFIG_MAP.get(architecture, VerifyAndUpdateConfig)
        if not issubclass(theirs, EAHConfigHook):
            MODELS_CONFIG_MAP[architecture] = config_hook(theirs)
