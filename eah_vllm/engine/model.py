"""vLLM's LLaVA model with its decoder layers wrapped."""

from typing import Any

from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    _build_llava_or_pixtral_hf_info,
    _build_llava_or_pixtral_hf_processor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from eah_vllm.engine.attention_call import attend_after_cached_prefix
from eah_vllm.engine.config import engine_settings
from eah_vllm.engine.layer import wrap_decoder_layers
from eah_vllm.engine.refusals import OUR_SCHEDULER
from eah_vllm.method.registry import METHODS
from eah_vllm.reuse.reused_heads import ReusedHeads
from eah_vllm.worker.intervention import Intervention
from eah_vllm.worker.trace import open_trace


@MULTIMODAL_REGISTRY.register_processor(
    _build_llava_or_pixtral_hf_processor,
    info=_build_llava_or_pixtral_hf_info,
    dummy_inputs=LlavaDummyInputsBuilder,
)
class EAHLlavaForConditionalGeneration(LlavaForConditionalGeneration):
    """vLLM's LLaVA, able to apply EAH in any decoder layer."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if vllm_config.scheduler_config.scheduler_cls != OUR_SCHEDULER:
            raise RuntimeError("EAH (eah_vllm): EAH_DISABLE must be set alike in all processes of an engine.")
        runner = "V2" if vllm_config.use_v2_model_runner else "V1"
        trace = open_trace({"runner": runner, "rank": get_tensor_model_parallel_rank()})
        reuse = engine_settings(vllm_config).prefix_reuse
        methods = METHODS | ({"eah": ReusedHeads(attend_after_cached_prefix)} if reuse else {})
        self.eah = Intervention(methods, trace)
        wrap_decoder_layers(vllm_config, f"{prefix}.language_model." if prefix else "language_model.", self.eah)

    @classmethod
    def get_model_state_cls(cls) -> type[Any]:
        """Return the class of the per-request state, for which Model Runner V2 asks the model."""
        from eah_vllm.engine.runner_v2 import EAHModelState  # this imports Triton, which V1 machines may lack

        return EAHModelState
