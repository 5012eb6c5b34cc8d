"""Adapter to Model Runner V2: requests and batches reach the intervention through vLLM's `ModelState` hooks."""

from typing import Any, cast

from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.model_states.default import DefaultModelState

from eah_vllm.worker.intervention import Intervention


class EAHModelState(DefaultModelState):
    """vLLM's default state of a model, with EAH added."""

    @property
    def eah(self) -> Intervention:
        """The model's intervention."""
        return cast(Intervention, self.model.eah)

    def add_request(self, req_index: int, new_req_data: NewRequestData) -> None:
        """Follow a new request; vLLM calls this again for a request that was preempted."""
        super().add_request(req_index, new_req_data)
        self.eah.add_request(new_req_data)

    def remove_request(self, req_id: str) -> None:
        """Forget a request that has finished, was aborted or was preempted."""
        super().remove_request(req_id)
        self.eah.table.remove(req_id)

    def prepare_attn(self, input_batch: InputBatch, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Plan the step; dummy and capture batches name no known request, so they get an empty plan."""
        self.eah.set_plan(
            self.eah.plan_batch(
                input_batch.req_ids,
                input_batch.query_start_loc_np.tolist(),
                input_batch.num_computed_tokens_np.tolist(),
                input_batch.num_scheduled_tokens.tolist(),
            )
        )
        return super().prepare_attn(input_batch, *args, **kwargs)

    def get_additional_cg_support(self) -> tuple[AttentionCGSupport, str | None]:
        """Allow full CUDA graphs for uniform decode batches only: where a prompt is computed, Python must run."""
        return AttentionCGSupport.UNIFORM_BATCH, "EAH"
