"""The compiler half: Triton loads the one concrete `BaseBackend` of this module."""

from types import ModuleType
from typing import Any

from triton.backends.compiler import BaseBackend, GPUTarget, Language

_REFUSAL = "triton_cpu_stub compiles nothing: set TRITON_INTERPRET=1"


class CPUStubBackend(BaseBackend):
    """Refuses to compile, and says what to do instead."""

    @staticmethod
    def supports_target(target: GPUTarget) -> bool:
        return target.backend == "cpu"

    def hash(self) -> str:
        return "triton_cpu_stub"

    def parse_options(self, options: dict[str, Any]) -> object:
        raise NotImplementedError(_REFUSAL)

    def add_stages(self, stages: dict[str, Any], options: object, language: Language) -> None:
        raise NotImplementedError(_REFUSAL)

    def load_dialects(self, context: Any) -> None:
        raise NotImplementedError(_REFUSAL)

    def get_module_map(self) -> dict[str, ModuleType]:
        return {}
