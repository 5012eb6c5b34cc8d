"""Checks options before the engine sees a request, whatever way it came in; bad options are refused with 400.

vLLM's only per-request admission hook is a custom logits processor's `validate_params`. The processors here change no
logits. The hook gets no configuration, so what requests are checked against is part of the class name that the config
hook registers: `V2Admission_32_40_7b7d` admits requests for a model of 32 layers and 40 heads on a server whose
enabled methods have the default options `{}`: JSON in hexadecimal digits.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from eah_vllm.method.registry import METHODS, asked_for, resolve_all
from eah_vllm.options import MethodOptions
from eah_vllm.settings import ModelShape

if TYPE_CHECKING:
    from vllm.config import ModelConfig
    from vllm.sampling_params import SamplingParams


Defaults = Mapping[str, MethodOptions]
"""The server's defaults of the options, by the name of each enabled method."""


def class_name(runner: str, shape: ModelShape, defaults: Defaults) -> str:
    """Return the name of the class that checks requests for a model runner, "V1" or "V2"."""
    said = {name: options.model_dump(exclude_none=True) for name, options in defaults.items()}
    return f"{runner}Admission_{shape.num_layers}_{shape.num_heads}_{json.dumps(said).encode().hex()}"


def check_request(sampling_params: "SamplingParams", shape: ModelShape, defaults: Defaults) -> None:
    """Refuse a request whose methods or options are impossible.

    Raises:
        OptionError: saying which, and why; this is a `ValueError`, which vLLM answers with 400.
    """
    resolve_all(asked_for(sampling_params.extra_args), defaults, shape, flat=True)


@contextmanager
def without_admission(model_config: "ModelConfig") -> Iterator[None]:
    """Hide our processor while a worker builds its model runner: requests are admitted where they come in.

    A worker with any custom processor keeps every request's tokens at hand for it, and at each step waits for those of
    the step before; also for requests that no method changes.
    """
    processors = model_config.logits_processors
    if processors is not None:
        others = [one for one in processors if not (isinstance(one, str) and one.startswith(f"{__name__}:"))]
        model_config.logits_processors = others or None
    try:
        yield
    finally:
        model_config.logits_processors = processors  # an engine in this process admits its requests by the same object


def _v1_class(shape: ModelShape, defaults: Defaults) -> type:
    from vllm.v1.sample.logits_processor.interface import LogitsProcessor

    class V1Admission(LogitsProcessor):
        @classmethod
        def validate_params(cls, sampling_params: "SamplingParams") -> None:
            check_request(sampling_params, shape, defaults)

        def __init__(self, *args: Any) -> None:
            pass

        def apply(self, logits: Any) -> Any:
            return logits

        def is_argmax_invariant(self) -> bool:
            return True

        def update_state(self, batch_update: Any) -> None:
            pass

    return V1Admission


def _v2_class(shape: ModelShape, defaults: Defaults) -> type:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor

    class V2Admission(LogitsProcessor):
        @classmethod
        def validate_params(cls, sampling_params: "SamplingParams") -> None:
            check_request(sampling_params, shape, defaults)

        def __init__(self, *args: Any) -> None:
            pass

        def add_request(self, req_idx: int, sampling_params: "SamplingParams") -> bool:
            return False

        def apply(self, logits: Any, ctx: Any) -> Any:
            return logits

    return V2Admission


@cache
def __getattr__(name: str) -> type:
    runner, _, rest = name.partition("Admission_")
    parts = rest.split("_")
    if runner not in ("V1", "V2") or len(parts) != 3:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    layers, heads, said = parts
    options: dict[str, Any] = json.loads(bytes.fromhex(said))
    defaults = {method: METHODS[method].Options(**fields) for method, fields in options.items()}
    make = _v1_class if runner == "V1" else _v2_class
    return make(ModelShape(int(layers), int(heads)), defaults)
