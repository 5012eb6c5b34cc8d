"""Any of vLLM's multimodal models with EAH: a subclass of vLLM's own class, made when vLLM loads it.

vLLM's registry finds a class by the name of a module and of something in it. What it finds here is named after
vLLM's class and version: `eah_vllm.engine.model:vllm.model_executor.models.llava.LlavaForConditionalGeneration@0.32.0`.
"""

from functools import cache, partial
from importlib import import_module
from typing import Any, Self, cast

from torch import nn
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank

from eah_vllm.engine.attention_call import attend_after_cached_prefixes
from eah_vllm.engine.config import engine_settings
from eah_vllm.engine.layer import wrap_decoder_layers
from eah_vllm.engine.refusals import OUR_SCHEDULER
from eah_vllm.method.registry import METHODS
from eah_vllm.reuse.reused_heads import ReusedHeads
from eah_vllm.worker.intervention import Intervention
from eah_vllm.worker.trace import open_trace


class EAHModelMixin:
    """Adds EAH to a multimodal model; it stands before vLLM's class in the bases of a class."""

    eah: Intervention

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the model; what makes a model of another class of vLLM's (MiniCPM-V chooses by version) gets EAH too."""
        parents: Any = super().__new__
        model: Any = parents(cls) if parents is object.__new__ else parents(cls, *args, **kwargs)
        if not isinstance(model, cls):
            model.__class__ = eah_model_class(type(model))  # type: ignore[arg-type]
            add_eah(model, kwargs["vllm_config"])
        return cast(Self, model)

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        add_eah(self, vllm_config)


def add_eah(model: Any, vllm_config: VllmConfig) -> None:
    """Give a model that is built, but not loaded, an intervention and wrap its decoder layers.

    Raises:
        RuntimeError: a process of this engine runs without EAH, or the model has no decoder layer.
    """
    if vllm_config.scheduler_config.scheduler_cls != OUR_SCHEDULER:
        raise RuntimeError("EAH (eah_vllm): EAH_DISABLE must be set alike in all processes of an engine.")
    runner = "V2" if vllm_config.use_v2_model_runner else "V1"
    trace = open_trace({"runner": runner, "rank": get_tensor_model_parallel_rank()})
    reuse = engine_settings(vllm_config).prefix_reuse
    methods = METHODS | ({"eah": ReusedHeads(attend_after_cached_prefixes)} if reuse else {})
    model.eah = Intervention(methods, trace)
    wrap_decoder_layers(vllm_config, model.get_language_model(), model.eah)
    if model.eah.rows is not None:
        model.eah_rows = model.eah.rows  # a module of the model: vLLM saves the buffers of these before it sleeps
    if runner == "V2":
        from eah_vllm.engine.runner_v2 import state_class_of  # this imports Triton, which V1 machines may lack

        # The model has no such method of ours before this line, so vLLM says what it would have taken without EAH.
        model.get_model_state_cls = partial(_same, state_class_of(vllm_config, model))


def _same(state_class: type) -> type:
    return state_class


@cache
def eah_model_class(theirs: type[nn.Module]) -> type[nn.Module]:
    """Return the EAH subclass of one of vLLM's model classes."""
    return type("EAH" + theirs.__name__, (EAHModelMixin, theirs), {})


def __getattr__(name: str) -> type[nn.Module]:
    theirs, at, _ = name.partition("@")
    if not at:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, class_name = theirs.rpartition(".")
    return eah_model_class(getattr(import_module(module), class_name))
