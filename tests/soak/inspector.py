"""`--worker-extension-cls`: lets a test look into a worker of a running server, through vLLM's development route."""

from typing import Any


class Inspector:
    """Mixed into the worker by vLLM, so `self` is the worker."""

    def held_state(self) -> dict[str, int]:
        """How much the worker remembers of requests; all 0 when none is under way and every report was collected."""
        worker: Any = self
        table = worker.eah.table
        return {"running": len(table), "uncollected": len(table._uncollected)}

    def custom_processors(self) -> tuple[list[str], bool]:
        """Names of the logits processors that are not vLLM's own, and whether a step waits for the tokens before it."""
        batch = self.model_runner.input_batch  # type: ignore[attr-defined]
        ours = [type(one).__name__ for one in batch.logitsprocs.all if not type(one).__module__.startswith("vllm.")]
        return ours, batch.logitsprocs_need_output_token_ids
