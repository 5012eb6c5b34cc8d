"""The driver half: Triton loads the one concrete `DriverBase` of this module."""

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import Benchmarker, DriverBase

_REFUSAL = "triton_cpu_stub launches nothing: set TRITON_INTERPRET=1"


class CPUStubDriver(DriverBase):
    """One device, the CPU, always there."""

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cpu", 0, 1)

    def get_current_device(self) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError(_REFUSAL)

    def get_benchmarker(self) -> Benchmarker:
        raise NotImplementedError(_REFUSAL)
