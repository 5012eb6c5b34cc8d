"""Adapter to Model Runner V2: requests and batches reach the intervention through vLLM's `ModelState` hooks."""

from functools import cache
from typing import Any, cast

from vllm.config import VllmConfig
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.model_states import resolve_model_state_cls
from vllm.v1.worker.gpu.model_states.default import DefaultModelState

from eah_vllm.worker.intervention import Intervention


class EAHModelStateMixin:
    """Adds EAH to vLLM's state of a model; it stands before a class of such a state in the bases of a class."""

    model: Any

    @property
    def eah(self) -> Intervention:
        """The model's intervention."""
        return cast(Intervention, self.model.eah)

    def add_request(self, req_index: int, new_req_data: NewRequestData) -> None:
        """Follow a new request; vLLM calls this again for a request that was preempted."""
        super().add_request(req_index, new_req_data)  # type: ignore[misc]
        self.eah.add_request(new_req_data)

    def remove_request(self, req_id: str) -> None:
        """Forget a request that has finished, was aborted or was preempted."""
        super().remove_request(req_id)  # type: ignore[misc]
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
        prepared: dict[str, Any] = super().prepare_attn(input_batch, *args, **kwargs)  # type: ignore[misc]
        return prepared

    def get_additional_cg_support(self) -> tuple[AttentionCGSupport, str | None]:
        """Allow full CUDA graphs for uniform decode batches at most: where a prompt is computed, Python must run."""
        theirs: tuple[AttentionCGSupport, str | None] = super().get_additional_cg_support()  # type: ignore[misc]
        return min(theirs, (AttentionCGSupport.UNIFORM_BATCH, "EAH"), key=lambda support: support[0].value)


@cache
def _with_eah(theirs: type) -> type:
    return type("EAH" + theirs.__name__, (EAHModelStateMixin, theirs), {})


def state_class_of(vllm_config: VllmConfig, model: Any) -> type:
    """Return the class of a model's state that vLLM would take, with EAH added."""
    theirs = resolve_model_state_cls(vllm_config, model)
    if not issubclass(theirs, DefaultModelState):
        raise ValueError(f"EAH (eah_vllm) cannot run here: it is not known how {theirs.__name__} follows requests.")
    return _with_eah(theirs)
