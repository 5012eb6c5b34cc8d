"""vLLM's GPU worker with EAH."""

from vllm.v1.worker.gpu_worker import Worker

from eah_vllm.engine.runner_v1 import EAHWorkerMixin


class EAHGPUWorker(EAHWorkerMixin, Worker):
    """Chosen by the config hook on CUDA and ROCm platforms."""
