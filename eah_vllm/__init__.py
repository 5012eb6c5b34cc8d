"""EAH for vLLM: vision-language models that hallucinate less, switched on per request (arXiv 2411.09968)."""

import logging
import multiprocessing
import os

__version__ = "0.1.0"
__all__ = ["SUPPORTED_ARCHITECTURES", "is_disabled", "register"]

SUPPORTED_ARCHITECTURES = {"LlavaForConditionalGeneration": "eah_vllm.engine.model:EAHLlavaForConditionalGeneration"}
"""Architecture of a checkpoint -> model class that can apply EAH to it."""


def is_disabled() -> bool:
    """Whether `EAH_DISABLE=1` switches the plugin off."""
    return os.environ.get("EAH_DISABLE", "0") == "1"


def register() -> None:
    """Entry point `vllm.general_plugins`: vLLM calls it in every process, some more than once."""
    if is_disabled():
        logging.getLogger("vllm.eah").warning("EAH_DISABLE=1: EAH is switched off; vLLM runs as if it were absent.")
        return
    if multiprocessing.parent_process() is None:  # a child runs the vLLM of its parent, which was checked
        from eah_vllm.contract.check import check
        from eah_vllm.contract.names import NAMES

        check(NAMES)
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from eah_vllm.engine.config import EAHConfigHook

    for architecture, model_class in SUPPORTED_ARCHITECTURES.items():
        ModelRegistry.register_model(architecture, model_class)
        MODELS_CONFIG_MAP[architecture] = EAHConfigHook
