"""Keeps the KV cache of EAH requests apart from everybody else's, in the engine process, for every way in."""

import hashlib
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from eah_vllm.engine_config import engine_defaults, model_shape
from eah_vllm.options import from_extra_args
from eah_vllm.settings import resolve


def isolate(request: Request, vllm_config: VllmConfig) -> None:
    """Give an EAH request block hashes of its own, and keep it from reading cached prefixes.

    KV of the layers after an EAH layer depends on the settings, so blocks may be shared only between requests of equal
    settings. Reading is off because choosing the head needs every row of the prompt. Requests without EAH keep
    vLLM's hashes and share with all other plain traffic.
    """
    asked = from_extra_args(request.sampling_params.extra_args) if request.sampling_params is not None else None
    if asked is None:
        return
    settings = resolve(asked[0], engine_defaults(vllm_config), model_shape(vllm_config.model_config))
    salt = f"{settings.fingerprint()}\n{request.cache_salt or ''}"
    request.cache_salt = hashlib.sha256(salt.encode()).hexdigest()
    request.skip_reading_prefix_cache = True
    request.block_hashes.clear()
    request.update_block_hashes()


class EAHSchedulerMixin:
    """Put before a scheduler class in the method resolution order."""

    vllm_config: VllmConfig

    def add_request(self, request: Request) -> Any:
        """Isolate, then queue."""
        isolate(request, self.vllm_config)
        return super().add_request(request)  # type: ignore[misc]


class EAHScheduler(EAHSchedulerMixin, Scheduler):
    """vLLM's scheduler with EAH isolation."""


class EAHAsyncScheduler(EAHSchedulerMixin, AsyncScheduler):
    """vLLM's asynchronous scheduler with EAH isolation."""


def make_scheduler(*, vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """What `scheduler_cls` names: vLLM decides on asynchronous scheduling only after our config hook has run."""
    scheduler_class = EAHAsyncScheduler if vllm_config.scheduler_config.async_scheduling else EAHScheduler
    return scheduler_class(vllm_config=vllm_config, **kwargs)
