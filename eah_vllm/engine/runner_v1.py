"""Adapter to Model Runner V1, and the RPC by which reports leave a worker of either runner."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.v1.core.sched.output import SchedulerOutput

from eah_vllm.engine.admission import without_admission
from eah_vllm.engine.config import identity
from eah_vllm.engine.refusals import refuse_resolved
from eah_vllm.engine.served_class import register_untried
from eah_vllm.worker.batch_plan import NO_WORK, BatchPlan
from eah_vllm.worker.intervention import NOTHING_COLLECTED, Intervention


class EAHWorkerMixin:
    """Adds EAH to a worker; it stands before a platform's worker class in the bases of a class."""

    model_runner: Any
    use_v2_model_runner: bool
    vllm_config: VllmConfig

    def init_device(self) -> None:
        """Refuse what EAH cannot do, before the model is loaded, and say of which class the model will be."""
        refuse_resolved(self.vllm_config)
        register_untried(self.vllm_config)  # the process that checked the configuration may be another one
        with without_admission(self.vllm_config.model_config):
            super().init_device()  # type: ignore[misc]

    @property
    def eah(self) -> Intervention:
        """The model's intervention."""
        intervention: Intervention = self.get_model().eah  # type: ignore[attr-defined]
        return intervention

    def eah_identity(self) -> str:
        """Answer an RPC with what must be equal in every process that serves one model."""
        return identity(self.vllm_config)

    def eah_collect(self, tags: Sequence[str], abandoned: Sequence[str] = ()) -> Mapping[str, Any]:
        """Answer an RPC with the reports of these tags and the counts since the last call.

        Of the ranks that hold the same reports, only one answers with them.
        """
        collected = self.eah.collect(tags, abandoned)
        return collected if get_tensor_model_parallel_rank() == 0 else NOTHING_COLLECTED

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """Read the scheduler's output, since Model Runner V1 has no hook per request, then run the step."""
        if self.use_v2_model_runner:
            return super().execute_model(scheduler_output)  # type: ignore[misc]
        for req_id in scheduler_output.finished_req_ids:
            self.eah.table.remove(req_id)
        for new in scheduler_output.scheduled_new_reqs:
            self.eah.add_request(new)
        for req_id in scheduler_output.scheduled_cached_reqs.resumed_req_ids:
            self.eah.table.resume(req_id)
        if not self.eah.table.unfinished_prompts and not self.eah.table.with_rows:
            self.eah.set_plan(NO_WORK)
            return super().execute_model(scheduler_output)  # type: ignore[misc]

        def plan() -> BatchPlan:
            # The first layer asks for the plan, once the runner has put this step's batch in order.
            batch = self.model_runner.input_batch
            scheduled = [scheduler_output.num_scheduled_tokens[req_id] for req_id in batch.req_ids]
            row_starts = [0, *accumulate(scheduled)]
            return self.eah.plan_batch(batch.req_ids, row_starts, batch.num_computed_tokens_cpu, scheduled)

        with self.eah.deferred_plan(plan):
            return super().execute_model(scheduler_output)  # type: ignore[misc]
