"""An EAH prompt waits until one step can compute all of it. Every other request is scheduled as vLLM does it."""

from typing import Any, cast

from vllm.config import VllmConfig
from vllm.config.scheduler import SchedulerConfig
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager
from vllm.v1.request import Request, RequestStatus

from eah_vllm.engine.config import drafting_slots, max_whole_prompt
from eah_vllm.engine.isolation import make_plain, must_be_whole, written_orders


class WholePromptsMixin:
    """Makes EAH prompts wait until they are whole; it stands before a scheduler class in the bases of a class.

    No prompt waits for ever (docs/decisions/0014): vLLM admits nobody from behind a prompt that waits, the requests
    before it end, and where nothing runs it is computed, or becomes a plain request.
    """

    vllm_config: VllmConfig
    scheduler_config: SchedulerConfig
    running: list[Request]
    encoder_cache_manager: EncoderCacheManager
    max_num_scheduled_tokens: int
    max_num_encoder_input_tokens: int
    num_spec_tokens: int

    def fits_into_a_step(self, request: Request) -> bool:
        """Whether a step without any other request could hold the whole prompt and its pictures."""
        embeddings = sum({f.identifier: f.mm_position.get_num_embeds() for f in request.mm_features}.values())
        return request.num_prompt_tokens <= max_whole_prompt(self.vllm_config) and embeddings <= min(
            self.max_num_encoder_input_tokens, self.encoder_cache_manager.cache_size
        )

    def _try_schedule_encoder_inputs(
        self,
        request: Request,
        num_computed_tokens: int,
        num_new_tokens: int,
        encoder_compute_budget: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Let vLLM choose a request's pictures of this step, but give a waiting EAH prompt all of its tokens, or none.

        vLLM calls this for each request with pictures once it knows how many tokens the step has for it. Where a
        waiting request gets none, vLLM admits no other in this step.
        """
        # A request that generates comes here too, in every step.
        if (
            num_computed_tokens < request.num_prompt_tokens
            and request.status != RequestStatus.RUNNING
            and must_be_whole(request)
        ):
            num_new_tokens = self._all_or_none(request, num_computed_tokens, num_new_tokens, encoder_compute_budget)
            if num_new_tokens == 0 and not self.running:
                make_plain(request)  # no request's end would make room; the next steps compute it in parts
        if num_new_tokens == request.num_prompt_tokens - num_computed_tokens - 1 and _acts_on_rows(request):
            num_new_tokens -= 1  # alone, the last row of a prompt could come in a step that is a CUDA graph
        return super()._try_schedule_encoder_inputs(  # type: ignore[misc]
            request, num_computed_tokens, num_new_tokens, encoder_compute_budget, *args, **kwargs
        )

    def _all_or_none(self, request: Request, computed: int, offered: int, encoder_compute_budget: int) -> int:
        rest = request.num_prompt_tokens - computed
        if offered < rest and rest > self._tokens_left(offered):
            return 0
        room = min(encoder_compute_budget, self.encoder_cache_manager.num_freeable_slots)
        return max(offered, rest) if self._embeddings_needed(request, computed) <= room else 0

    def _tokens_left(self, offered: int) -> int:
        """Return how many tokens the step surely has left for a request to which it offered `offered`.

        `long_prefill_token_threshold` may have cut the offer, and vLLM does not say how many tokens the step has left.
        So the most that the requests before this one can have taken is subtracted from the whole: plain requests were
        cut too, and each request may have taken drafts, of which it keeps no trace once they are scheduled.
        """
        config = self.scheduler_config
        most = config.long_prefill_token_threshold
        if most == 0 or offered < most:
            return offered
        if config.long_prefill_token_threshold_adaptive:
            counts = cast(tuple[int, int], self.get_request_counts())  # type: ignore[attr-defined]
            most = max(most, config.max_num_batched_tokens // sum(counts))
        taken = 0
        for request in self.running:
            wanted = request.num_tokens_with_spec + request.num_output_placeholders - request.num_computed_tokens
            taken += (wanted if must_be_whole(request) else min(wanted, most)) + self.num_spec_tokens
        slots = (len(self.running) + 1) * drafting_slots(self.vllm_config)
        return min(self.max_num_scheduled_tokens - taken, config.max_num_batched_tokens - taken - slots)

    def _embeddings_needed(self, request: Request, start: int) -> int:
        """Count the embeddings of pictures that no other request holds: even cached ones may be evicted meanwhile."""
        held = self.encoder_cache_manager.cached
        needed = {
            feature.identifier: feature.mm_position.get_num_embeds()
            for feature in request.mm_features
            if feature.mm_position.offset + feature.mm_position.length > start and not held.get(feature.identifier)
        }
        return sum(needed.values())


def _acts_on_rows(request: Request) -> bool:
    return any(order.slot is not None for order in written_orders(request))
