"""Reads EAH's settings from an engine's configuration, which a hook of vLLM adapts or refuses at start."""

from collections.abc import Mapping
from typing import Any

from vllm.config import ModelConfig, VllmConfig
from vllm.logger import init_logger
from vllm.model_executor.models.config import VerifyAndUpdateConfig
from vllm.platforms import current_platform

from eah_vllm.engine.admission import __name__ as admission_module
from eah_vllm.engine.admission import class_name
from eah_vllm.engine.refusals import OUR_SCHEDULER, refuse_unsupported, worker_class
from eah_vllm.engine.served_class import has_mechanism, register_untried
from eah_vllm.method.base import Method
from eah_vllm.method.registry import METHODS
from eah_vllm.models import MODELS, row_of
from eah_vllm.options import EAHOptions, EngineDefaults, MethodOptions, OptionError, Options, parse_options
from eah_vllm.settings import ModelShape
from eah_vllm.version import __version__

logger = init_logger(__name__)


def model_shape(model_config: ModelConfig) -> ModelShape:
    """Return the numbers of decoder layers and query heads of the language model, over all ranks."""
    found = model_config.model_arch_config
    return ModelShape(found.total_num_hidden_layers, found.total_num_attention_heads)


def engine_settings(vllm_config: VllmConfig) -> EngineDefaults:
    """Read the engine's EAH settings from `--additional-config '{"eah": {...}}'`.

    Raises:
        ValueError: a field is unknown or a value is bad; the message names it.
    """
    return _read(EngineDefaults, _additional(vllm_config, "eah"), "--additional-config eah")


def method_defaults(vllm_config: VllmConfig, method: Method) -> MethodOptions:
    """Return the server's defaults of a method's options.

    They come from `--additional-config '{"NAME": {...}}'`; the checkpoint's `config.json` (field NAME) gives those not
    set there, and for EAH the model's row in `models.py` the rest.
    """
    fields, where = _additional(vllm_config, method.name), f"--additional-config {method.name}"
    said = engine_settings(vllm_config).options() if method.name == "eah" else _read(method.Options, fields, where)
    checkpoints = getattr(vllm_config.model_config.hf_config, method.name, {})
    said = said.over(_read(method.Options, checkpoints, f"the checkpoint's config.json: {method.name}"))
    if not isinstance(said, EAHOptions) or said.preset is not None:
        return said  # a preset that somebody names is that preset, on any model
    return said.over(EAHOptions(**row_of(vllm_config.model_config.architecture).start))


def all_defaults(vllm_config: VllmConfig) -> Mapping[str, MethodOptions]:
    """Return the server's defaults of every method's options, by the method's name."""
    return {name: method_defaults(vllm_config, method) for name, method in METHODS.items()}


def drafting_slots(vllm_config: VllmConfig) -> int:
    """Return how many slots of a step each request takes for drafts, in addition to its tokens."""
    speculative = vllm_config.speculative_config
    return speculative.max_num_new_slots_for_drafting if speculative is not None else 0


def max_whole_prompt(vllm_config: VllmConfig) -> int:
    """Return the length in tokens of the longest prompt that a step of its own can hold; EAH changes no longer one."""
    scheduler = vllm_config.scheduler_config
    slots = scheduler.max_num_batched_tokens
    tokens = slots if scheduler.max_num_scheduled_tokens is None else scheduler.max_num_scheduled_tokens
    return min(tokens, slots - drafting_slots(vllm_config), vllm_config.model_config.max_model_len)


def engine_facts(vllm_config: VllmConfig) -> dict[str, Any]:
    """Return what `/v1/eah` says about the engine: its settings, what follows from vLLM's, and the model's row."""
    settings = engine_settings(vllm_config)
    facts = {name: getattr(settings, name) for name in sorted(EngineDefaults.engine_fields())}
    facts["chunked_prefill"] = vllm_config.scheduler_config.enable_chunked_prefill
    row = row_of(vllm_config.model_config.architecture).facts()
    return facts | {"max_whole_prompt": max_whole_prompt(vllm_config), "row": row}


def identity(vllm_config: VllmConfig) -> str:
    """Return what must be equal in all processes of one server: data-parallel engines may be on several machines."""
    defaults, shape = all_defaults(vllm_config), model_shape(vllm_config.model_config)
    methods = [
        f"{name} {method.resolve(method.Options(), defaults[name], shape).fingerprint()} {defaults[name]!r}"
        for name, method in sorted(METHODS.items())
    ]
    return f"eah_vllm {__version__}, {engine_settings(vllm_config)!r}, {', '.join(methods)}"


def _additional(vllm_config: VllmConfig, name: str) -> Any:
    additional: Any = vllm_config.additional_config
    return additional.get(name, {}) if isinstance(additional, dict) else {}


def _read(schema: type[Options], fields: Any, where: str) -> Options:
    if not isinstance(fields, dict):
        raise ValueError(f"{where} must be an object of options, got {fields!r}")
    return parse_options(fields, f"{where}.", schema)


def is_served_with_eah(vllm_config: VllmConfig) -> bool:
    """Whether requests of this server can ask for EAH."""
    any_model = engine_settings(vllm_config).any_model
    return has_mechanism(vllm_config.model_config, any_model=any_model)


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
    shape = model_shape(vllm_config.model_config)
    for method in METHODS.values():
        _check_defaults(method, method_defaults(vllm_config, method), shape)
    settings = engine_settings(vllm_config)
    refuse_unsupported(vllm_config, settings)
    register_untried(vllm_config)
    if not settings.chunked_prefill:
        _never_split(vllm_config)
    vllm_config.parallel_config.worker_cls = worker_class(vllm_config.parallel_config.worker_cls, current_platform)
    vllm_config.scheduler_config.scheduler_cls = OUR_SCHEDULER
    runner = "V2" if vllm_config.use_v2_model_runner else "V1"
    admission = f"{admission_module}:{class_name(runner, shape, all_defaults(vllm_config))}"
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
