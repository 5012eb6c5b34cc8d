"""Lets a torchvision built for CUDA torch import beside CPU torch.

Such a torchvision fails at import, "operator torchvision::nms does not exist": its compiled part was not loaded.
vLLM's LLaVA needs only its Python transforms, so declaring the missing operators is enough. Nothing happens until
torchvision is imported, and nothing at all where its own import works.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder  # nothing heavier: this runs at every interpreter start

MISSING = "operator torchvision::nms does not exist"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[object] = []
"""An operator lives as long as the library object that defined it."""


def _define_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + SCHEMA)
    _libraries.append(library)


class TorchvisionFinder:
    """Finds torchvision as usual, and gives its import a second try if the operators are missing."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_twice(module):  # type: ignore[no-untyped-def]
            try:
                execute(module)
            except RuntimeError as error:
                if MISSING not in str(error):
                    raise
                _define_operators()
                for loaded in [loaded for loaded in sys.modules if loaded.startswith("torchvision.")]:
                    del sys.modules[loaded]
                execute(module)

        spec.loader.exec_module = execute_twice
        return spec


def install() -> None:
    """Called by the `.pth` file at every interpreter start."""
    sys.meta_path.insert(0, TorchvisionFinder)
