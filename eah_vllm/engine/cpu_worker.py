"""vLLM's CPU worker with EAH."""

from vllm.v1.worker.cpu_worker import CPUWorker

from eah_vllm.engine.runner_v1 import EAHWorkerMixin


class EAHCPUWorker(EAHWorkerMixin, CPUWorker):
    """vLLM's CPU worker with EAH; the config hook names it on CPU platforms."""
