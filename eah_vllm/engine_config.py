"""What an engine's configuration says of EAH, and vLLM's hook that adapts or refuses the configuration at start."""

from typing import Any

from pydantic import ValidationError
from vllm.config import CUDAGraphMode, ModelConfig, VllmConfig
from vllm.logger import init_logger
from vllm.model_executor.models.config import VerifyAndUpdateConfig
from vllm.platforms import current_platform

from eah_vllm.options import EAHOptions, EngineDefaults
from eah_vllm.settings import ModelShape, resolve

logger = init_logger(__name__)


def model_shape(model_config: ModelConfig) -> ModelShape:
    """Decoder layers and query heads of the language model, over all ranks."""
    text_config = model_config.hf_text_config
    return ModelShape(text_config.num_hidden_layers, text_config.num_attention_heads)


def engine_settings(vllm_config: VllmConfig) -> EngineDefaults:
    """`--additional-config '{"eah": {...}}'`.

    Raises:
        ValueError: an unknown field or a bad value.
    """
    additional: Any = vllm_config.additional_config
    fields = additional.get("eah", {}) if isinstance(additional, dict) else {}
    try:
        return EngineDefaults(**fields)
    except (ValidationError, TypeError) as error:
        raise ValueError(f"--additional-config eah: {error}") from error


def engine_defaults(vllm_config: VllmConfig) -> EAHOptions:
    """The server's option defaults, over those that the checkpoint carries in its `config.json` (field `eah`)."""
    of_checkpoint = EAHOptions(**getattr(vllm_config.model_config.hf_config, "eah", {}))
    return engine_settings(vllm_config).options().over(of_checkpoint)


class EAHConfigHook(VerifyAndUpdateConfig):
    """Registered for every architecture that EAH supports; vLLM calls it while it checks a configuration."""

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
        """Adapt the configuration to EAH.

        Raises:
            ValueError: a feature that cannot work with EAH, naming the option to change.
        """
        shape = model_shape(vllm_config.model_config)
        _check_defaults(engine_defaults(vllm_config), shape)
        _refuse_unsupported(vllm_config)
        if not engine_settings(vllm_config).chunked_prefill:
            _whole_prompts(vllm_config)
        vllm_config.parallel_config.worker_cls = _worker_class(vllm_config.parallel_config.worker_cls)
        vllm_config.scheduler_config.scheduler_cls = "eah_vllm.scheduler.make_scheduler"
        runner = "V2" if vllm_config.use_v2_model_runner else "V1"
        admission = f"eah_vllm.admission:{runner}Admission_{shape.num_layers}_{shape.num_heads}"
        processors = list(vllm_config.model_config.logits_processors or [])
        if admission not in processors:
            vllm_config.model_config.logits_processors = [*processors, admission]


def _check_defaults(defaults: EAHOptions, shape: ModelShape) -> None:
    # The `paper` preset's layer 1 must exist too, or a bare `eah: true` could never be answered.
    resolve(EAHOptions(), defaults, shape)


def _refuse_unsupported(vllm_config: VllmConfig) -> None:
    parallel, scheduler = vllm_config.parallel_config, vllm_config.scheduler_config
    refusals = {
        "--decode-context-parallel-size spreads one head's keys over ranks; set it to 1": (
            parallel.decode_context_parallel_size not in (None, 1)
        ),
        "--prefill-context-parallel-size spreads a prompt's rows over ranks; set it to 1": (
            parallel.prefill_context_parallel_size > 1
        ),
        "--pipeline-parallel-size above 1 is not supported yet; set it to 1": parallel.pipeline_parallel_size > 1,
        "--enable-dbo runs a batch in two halves; leave it off": parallel.enable_dbo,
        "--scheduler-cls is taken, but EAH must isolate its prefix cache there; leave it unset": (
            scheduler.scheduler_cls not in (None, "eah_vllm.scheduler.make_scheduler")
        ),
        "cudagraph_mode FULL captures prompts too; use FULL_AND_PIECEWISE (the default)": (
            vllm_config.compilation_config.cudagraph_mode == CUDAGraphMode.FULL
        ),
        "speculative decoding on Model Runner V1 accepts no request check; use Model Runner V2": (
            vllm_config.speculative_config is not None and not vllm_config.use_v2_model_runner
        ),
    }
    for sentence, refused in refusals.items():
        if refused:
            raise ValueError(f"EAH (eah_vllm) cannot run here: {sentence}, or switch EAH off with EAH_DISABLE=1.")


def _whole_prompts(vllm_config: VllmConfig) -> None:
    """Choosing the source head needs every prompt row in one step: no chunked prefill, and room for a whole prompt."""
    scheduler, max_model_len = vllm_config.scheduler_config, vllm_config.model_config.max_model_len
    scheduler.enable_chunked_prefill = False
    scheduler.long_prefill_token_threshold = 0
    # Running requests take a token each, so a full-length prompt needs room beside them.
    room = max_model_len + scheduler.max_num_seqs
    scheduler.max_num_batched_tokens = max(scheduler.max_num_batched_tokens, room)
    scheduler.max_num_encoder_input_tokens = max(scheduler.max_num_encoder_input_tokens, room)
    scheduler.encoder_cache_size = max(scheduler.encoder_cache_size, room)
    logger.info_once(
        "EAH: chunked prefill is off and max_num_batched_tokens is %d, so that a prompt is computed in one step.",
        scheduler.max_num_batched_tokens,
    )


def _worker_class(configured: str) -> str:
    ours = "eah_vllm.cpu_worker.EAHCPUWorker" if current_platform.is_cpu() else "eah_vllm.gpu_worker.EAHGPUWorker"
    if configured not in ("auto", ours):
        raise ValueError(f"EAH (eah_vllm) cannot run here: --worker-cls {configured} is not known; leave it unset.")
    if not (current_platform.is_cpu() or current_platform.is_cuda_alike()):
        raise ValueError(f"EAH (eah_vllm) cannot run here: platform {current_platform.device_name} is not known.")
    return ours
