"""Keeps the KV cache of EAH requests apart from everybody else's, in the engine process, for every way in."""

import copy
import hashlib
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from eah_vllm.engine_config import engine_defaults, engine_settings, model_shape
from eah_vllm.options import RECORD_FIELD, EAHOptions, from_extra_args
from eah_vllm.prefix_records import PrefixRecords, prefix_key
from eah_vllm.settings import ModelShape, resolve


def isolate(request: Request, defaults: EAHOptions, shape: ModelShape, records: PrefixRecords | None) -> None:
    """Give an EAH request block hashes of its own, and keep it from reading cached prefixes that others wrote.

    KV of the layers after an EAH layer depends on the settings, so blocks may be shared only between requests of equal
    settings. Choosing the head needs every row of the prompt, so nothing is read at all unless `records` names the
    blocks that were written with one choice of heads. Requests without EAH keep vLLM's hashes and share with all other
    plain traffic.
    """
    params = request.sampling_params
    asked = from_extra_args(params.extra_args) if params is not None else None
    if params is None or asked is None:
        return
    settings = resolve(asked[0], defaults, shape)
    record = None
    if records is not None and _has_image(request):
        record = records.record_of(_prefix_key(request, settings.fingerprint()))
    else:
        request.skip_reading_prefix_cache = True
    salt = f"{settings.fingerprint()}\n{request.cache_salt or ''}\n{record or ''}"
    request.cache_salt = hashlib.sha256(salt.encode()).hexdigest()
    request.block_hashes.clear()
    request.update_block_hashes()
    params = copy.copy(params)
    params.skip_reading_prefix_cache = request.skip_reading_prefix_cache  # KV connectors look here
    params.extra_args = {**(params.extra_args or {}), RECORD_FIELD: record}
    request.sampling_params = params


def _has_image(request: Request) -> bool:
    return any(feature.modality == "image" for feature in request.mm_features)


def _prefix_key(request: Request, fingerprint: str) -> str:
    end = max(f.mm_position.offset + f.mm_position.length for f in request.mm_features if f.modality == "image")
    # As in vLLM's block hashes: an adapter of the same name may be another one.
    lora = f"{request.lora_request.lora_name}\n{request.lora_request.lora_path}" if request.lora_request else ""
    contents = [feature.identifier for feature in request.mm_features]
    return prefix_key(fingerprint, request.cache_salt or "", lora, (request.prompt_token_ids or [])[:end], contents)


def _asks_for_eah(request: Request) -> bool:
    params = request.sampling_params
    return params is not None and RECORD_FIELD in (params.extra_args or {})  # put there by `isolate`


class EAHSchedulerMixin:
    """Put before a scheduler class in the method resolution order."""

    vllm_config: VllmConfig
    running: list[Request]
    encoder_cache_manager: EncoderCacheManager

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eah_defaults = engine_defaults(self.vllm_config)
        self.eah_shape = model_shape(self.vllm_config.model_config)
        self.eah_records = PrefixRecords() if engine_settings(self.vllm_config).prefix_reuse else None

    def add_request(self, request: Request) -> Any:
        """Isolate, then queue."""
        isolate(request, self.eah_defaults, self.eah_shape, self.eah_records)
        return super().add_request(request)  # type: ignore[misc]

    def _try_schedule_encoder_inputs(
        self,
        request: Request,
        num_computed_tokens: int,
        num_new_tokens: int,
        encoder_compute_budget: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """VLLM's; but a prompt waits for room in the encoder's cache, where vLLM splits it before its picture.

        It never waits for an engine that has nothing else to do.
        """
        # A prompt that this step would compute to its end; a request that decodes comes here too.
        is_whole = num_computed_tokens < request.num_prompt_tokens <= num_computed_tokens + num_new_tokens
        if is_whole and self.running and _asks_for_eah(request):
            needed = self._embeddings_needed(request, num_computed_tokens)
            if needed > min(encoder_compute_budget, self.encoder_cache_manager.num_freeable_slots):
                num_new_tokens = 0
        return super()._try_schedule_encoder_inputs(  # type: ignore[misc]
            request, num_computed_tokens, num_new_tokens, encoder_compute_budget, *args, **kwargs
        )

    def _embeddings_needed(self, request: Request, start: int) -> int:
        """Of pictures that no other request holds in the encoder's cache: such a one may be evicted meanwhile."""
        held = self.encoder_cache_manager.cached
        needed = {
            feature.identifier: feature.mm_position.get_num_embeds()
            for feature in request.mm_features
            if feature.mm_position.offset + feature.mm_position.length > start and not held.get(feature.identifier)
        }
        return sum(needed.values())

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> bool:
        """Also forget the recorded heads: the weights may have changed."""
        if self.eah_records is not None:
            self.eah_records.clear()
        reset: bool = super().reset_prefix_cache(*args, **kwargs)  # type: ignore[misc]
        return reset


class EAHScheduler(EAHSchedulerMixin, Scheduler):
    """vLLM's scheduler with EAH isolation."""


class EAHAsyncScheduler(EAHSchedulerMixin, AsyncScheduler):
    """vLLM's asynchronous scheduler with EAH isolation."""


def make_scheduler(*, vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """What `scheduler_cls` names: vLLM decides on asynchronous scheduling only after our config hook has run."""
    scheduler_class = EAHAsyncScheduler if vllm_config.scheduler_config.async_scheduling else EAHScheduler
    return scheduler_class(vllm_config=vllm_config, **kwargs)
