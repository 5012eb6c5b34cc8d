"""vLLM's GPU worker with EAH."""

from vllm.v1.worker.gpu_worker import Worker

from eah_vllm.engine.runner_v1 import EAHWorkerMixin


class EAHGPUWorker(EAHWorkerMixin, Worker):
    """vLLM's GPU worker with EAH; the config hook names it on CUDA and ROCm platforms."""
