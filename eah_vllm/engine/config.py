"""Reads EAH's settings, and those of other methods, from an engine's configuration."""

from collections.abc import Mapping
from typing import Any

from vllm.config import ModelConfig, VllmConfig

from eah_vllm.engine.served_class import has_mechanism
from eah_vllm.method.base import Method
from eah_vllm.method.registry import METHODS
from eah_vllm.models import row_of
from eah_vllm.options import (
    CheckpointDefaults,
    EAHOptions,
    EngineDefaults,
    MethodOptions,
    OptionError,
    Options,
    parse_options,
    shown,
)
from eah_vllm.settings import ModelShape
from eah_vllm.version import __version__


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
    name = method.name
    if name == "eah":
        said: MethodOptions = engine_settings(vllm_config).options().over(_checkpoints_eah(vllm_config).options())
    else:
        said = _read(method.Options, _additional(vllm_config, name), f"--additional-config {name}")
        said = said.over(_checkpoints(vllm_config, name, method.Options))
    if not isinstance(said, EAHOptions) or said.preset is not None:
        return said  # a preset that somebody names is that preset, on any model
    return said.over(EAHOptions(**row_of(vllm_config.model_config.architecture).start))


def all_defaults(vllm_config: VllmConfig) -> Mapping[str, MethodOptions]:
    """Return the server's defaults of every method's options, by the method's name."""
    return {name: method_defaults(vllm_config, method) for name, method in METHODS.items()}


def enabled_methods(vllm_config: VllmConfig) -> Mapping[str, Method]:
    """Return the methods that requests of this server may ask for, by name, in the order of `METHODS`.

    They are those that `--additional-config '{"eah": {"methods": [...]}}'` names; if it names none, those that the
    checkpoint's `config.json` names; else those that are on by default. A method that only reads is always there.

    Raises:
        OptionError: a name belongs to no method.
    """
    named, where = engine_settings(vllm_config).methods, "--additional-config eah.methods"
    if named is None:
        named, where = _checkpoints_eah(vllm_config).methods, "the checkpoint's config.json: eah.methods"
    if named is None:
        named = [name for name, method in METHODS.items() if method.on_by_default]
    elif named == "all":
        named = list(METHODS)
    for name in named:
        if name not in METHODS:
            raise OptionError(where, f"no method is called {shown(name)}; known are {', '.join(METHODS)}")
    return {name: method for name, method in METHODS.items() if name in named or not method.changes_kv}


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
    facts["methods"] = [name for name, method in enabled_methods(vllm_config).items() if method.has_field]
    facts["chunked_prefill"] = vllm_config.scheduler_config.enable_chunked_prefill
    row = row_of(vllm_config.model_config.architecture).facts()
    return facts | {"max_whole_prompt": max_whole_prompt(vllm_config), "row": row}


def identity(vllm_config: VllmConfig) -> str:
    """Return what must be equal in all processes of one server: data-parallel engines may be on several machines."""
    defaults, shape = all_defaults(vllm_config), model_shape(vllm_config.model_config)
    methods = [
        f"{name} {method.resolve(method.Options(), defaults[name], shape).fingerprint()} {defaults[name]!r}"
        for name, method in sorted(enabled_methods(vllm_config).items())
    ]
    return f"eah_vllm {__version__}, {engine_settings(vllm_config)!r}, {', '.join(methods)}"


def _additional(vllm_config: VllmConfig, name: str) -> Any:
    additional: Any = vllm_config.additional_config
    return additional.get(name, {}) if isinstance(additional, dict) else {}


def _checkpoints(vllm_config: VllmConfig, name: str, schema: type[Options]) -> Options:
    fields = getattr(vllm_config.model_config.hf_config, name, {})
    return _read(schema, fields, f"the checkpoint's config.json: {name}")


def _checkpoints_eah(vllm_config: VllmConfig) -> CheckpointDefaults:
    return _checkpoints(vllm_config, "eah", CheckpointDefaults)


def _read(schema: type[Options], fields: Any, where: str) -> Options:
    if not isinstance(fields, dict):
        raise ValueError(f"{where} must be an object of options, got {fields!r}")
    return parse_options(fields, f"{where}.", schema)


def is_served_with_eah(vllm_config: VllmConfig) -> bool:
    """Whether requests of this server can ask for EAH."""
    any_model = engine_settings(vllm_config).any_model
    return has_mechanism(vllm_config.model_config, any_model=any_model)
