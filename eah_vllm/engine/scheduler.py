"""vLLM's scheduler with EAH: it keeps EAH prompts whole and their KV cache apart, whatever way requests come in."""

import logging
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from eah_vllm.engine.config import all_defaults, engine_settings, max_whole_prompt, model_shape
from eah_vllm.engine.isolation import acts_on_rows, answer_plainly, give_orders, isolate, must_be_whole
from eah_vllm.engine.row_slots import RowSlotsMixin
from eah_vllm.engine.whole_prompts import WholePromptsMixin
from eah_vllm.models import row_of
from eah_vllm.report import PROMPT_SPLIT, SESSION
from eah_vllm.reuse.prefix_records import PrefixRecords

logger = logging.getLogger("vllm.eah")


class EAHSchedulerMixin(RowSlotsMixin, WholePromptsMixin):
    """Adds EAH to a scheduler; it stands before a scheduler class in the bases of a class."""

    hash_block_size: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eah_defaults = all_defaults(self.vllm_config)
        self.eah_shape = model_shape(self.vllm_config.model_config)
        self.eah_modalities = row_of(self.vllm_config.model_config.architecture).modalities
        self.eah_records = PrefixRecords() if engine_settings(self.vllm_config).prefix_reuse else None
        logger.info(
            "EAH acts on prompts of up to %d tokens, the most that a step can hold of one (max_whole_prompt); longer "
            "ones are answered without it. max_model_len is %d; --max-num-batched-tokens moves the limit.",
            max_whole_prompt(self.vllm_config),
            self.vllm_config.model_config.max_model_len,
        )
        if self.vllm_config.model_config.is_hybrid and self.vllm_config.cache_config.mamba_cache_mode == "align":
            logger.warning(
                "EAH: vLLM splits prompts of this model at blocks of the prefix cache, and prompts in parts are "
                "answered without EAH (prompt_split). --no-enable-prefix-caching keeps them whole."
            )

    def add_request(self, request: Request) -> Any:
        """Decide which of the methods that a request asks for can change it, isolate it if so, then queue it."""
        if give_orders(request, self.eah_defaults, self.eah_shape, self.eah_modalities):
            if must_be_whole(request) and not self.fits_into_a_step(request):
                answer_plainly(request, PROMPT_SPLIT, whole_only=True)
            with_rows = acts_on_rows(request)
            if with_rows and request.resumable:
                answer_plainly(request, SESSION)
            isolate(request, self.eah_records, self.hash_block_size)
            if with_rows and not request.resumable:
                return self.add_with_slot(request)
        return super().add_request(request)  # type: ignore[misc]

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> bool:
        """Reset the prefix cache, and forget the recorded heads: the weights may have changed."""
        if self.eah_records is not None:
            self.eah_records.clear()
        reset: bool = super().reset_prefix_cache(*args, **kwargs)  # type: ignore[misc]
        return reset


class EAHScheduler(EAHSchedulerMixin, Scheduler):
    """vLLM's scheduler with EAH."""


class EAHAsyncScheduler(EAHSchedulerMixin, AsyncScheduler):
    """vLLM's asynchronous scheduler with EAH."""


def make_scheduler(*, vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """Make the scheduler that vLLM asks for; `scheduler_cls` names this function.

    vLLM decides on asynchronous scheduling only after our config hook has run, so the hook cannot name a class.
    """
    scheduler_class = EAHAsyncScheduler if vllm_config.scheduler_config.async_scheduling else EAHScheduler
    return scheduler_class(vllm_config=vllm_config, **kwargs)
