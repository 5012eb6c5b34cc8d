"""Adapts an engine's configuration to EAH at start, or refuses it: a hook of vLLM's, called while it checks one."""

from vllm.config import VllmConfig
from vllm.logger import init_logger
from vllm.model_executor.models.config import VerifyAndUpdateConfig
from vllm.platforms import current_platform

from eah_vllm.engine.admission import __name__ as admission_module
from eah_vllm.engine.admission import class_name
from eah_vllm.engine.config import (
    all_defaults,
    enabled_methods,
    engine_settings,
    is_served_with_eah,
    model_shape,
)
from eah_vllm.engine.refusals import OUR_SCHEDULER, refuse_unsupported, worker_class
from eah_vllm.engine.served_class import register_untried
from eah_vllm.method.base import Method
from eah_vllm.models import MODELS
from eah_vllm.options import MethodOptions, OptionError
from eah_vllm.settings import ModelShape

logger = init_logger(__name__)


class EAHConfigHook(VerifyAndUpdateConfig):
    """Stands before vLLM's own hook of an architecture; vLLM calls it while it checks a configuration."""

    @classmethod
    def verify_and_update_config(cls, vllm_config: VllmConfig) -> None:
        """Let vLLM adapt the configuration to the model, then adapt it to EAH if the model is served with it.

        Raises:
            ValueError: a feature cannot work with EAH; the message names the option to change.
        """
        super().verify_and_update_config(vllm_config)
        if is_served_with_eah(vllm_config):
            _adapt(vllm_config)
        elif engine_settings(vllm_config).any_model:
            architecture = vllm_config.model_config.architecture
            reason = MODELS[architecture].note if architecture in MODELS else "it generates no text from images"
            raise ValueError(f"eah.any_model cannot try {architecture}: {reason}; leave it unset.")


def config_hook(theirs: type[VerifyAndUpdateConfig]) -> type[EAHConfigHook]:
    """Return our hook before one of vLLM's."""
    return type("EAHConfigHook", (EAHConfigHook, theirs), {})


def _adapt(vllm_config: VllmConfig) -> None:
    shape, enabled = model_shape(vllm_config.model_config), enabled_methods(vllm_config)
    of_all = all_defaults(vllm_config)  # a section that nobody can read is refused, whether or not it has a use here
    defaults = {name: of_all[name] for name in enabled}
    for name, method in enabled.items():
        _check_defaults(method, defaults[name], shape)
    settings = engine_settings(vllm_config)
    refuse_unsupported(vllm_config, settings)
    register_untried(vllm_config)
    if not settings.chunked_prefill:
        _never_split(vllm_config)
    vllm_config.parallel_config.worker_cls = worker_class(vllm_config.parallel_config.worker_cls, current_platform)
    vllm_config.scheduler_config.scheduler_cls = OUR_SCHEDULER
    runner = "V2" if vllm_config.use_v2_model_runner else "V1"
    admission = f"{admission_module}:{class_name(runner, shape, defaults)}"
    processors = list(vllm_config.model_config.logits_processors or [])
    if admission not in processors:
        vllm_config.model_config.logits_processors = [*processors, admission]


def _check_defaults(method: Method, defaults: MethodOptions, shape: ModelShape) -> None:
    # What the method starts with (EAH's layer 1) must exist too, or a bare `eah: true` could never be answered.
    try:
        method.resolve(method.Options(), defaults, shape)
    except OptionError as error:
        option = error.field.removeprefix(f"{method.name}.")
        advice = f'--additional-config \'{{"{method.name}": {{"{option}": ...}}}}\''
        raise ValueError(f"EAH (eah_vllm) cannot run here: default {error}; set another with {advice}.") from None


def _never_split(vllm_config: VllmConfig) -> None:
    """Turn chunked prefill off, as the setting `chunked_prefill: false` asks, and make steps hold the longest prompt.

    A step then has room for that prompt and for a token of every other request that can run.
    """
    scheduler, max_model_len = vllm_config.scheduler_config, vllm_config.model_config.max_model_len
    scheduler.enable_chunked_prefill = False
    scheduler.long_prefill_token_threshold = 0
    # Each running request takes one token, and its drafts.
    speculative = vllm_config.speculative_config
    drafted = speculative.num_speculative_tokens + speculative.max_num_new_slots_for_drafting if speculative else 0
    room = max_model_len + scheduler.max_num_seqs * (1 + drafted) + drafted
    scheduler.max_num_batched_tokens = max(scheduler.max_num_batched_tokens, room)
    if scheduler.max_num_scheduled_tokens is not None:
        scheduler.max_num_scheduled_tokens = max(scheduler.max_num_scheduled_tokens, room)
    scheduler.max_num_encoder_input_tokens = max(scheduler.max_num_encoder_input_tokens, room)
    scheduler.encoder_cache_size = max(scheduler.encoder_cache_size, room)
    logger.info_once(
        "EAH: chunked prefill is off and max_num_batched_tokens is %d, as eah.chunked_prefill asks.",
        scheduler.max_num_batched_tokens,
    )
