"""Lets a torchvision built for CUDA torch import beside CPU torch.

Such a torchvision fails at import: "operator torchvision::nms does not exist", because its compiled part was not loaded.
vLLM's LLaVA needs only its Python transforms, so declaring the two missing operators is enough. Nothing happens until
torchvision is imported, and nothing at all where its own import works.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries = []  # an operator lives as long as the library object that defined it


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.loader.exec_module(module)
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define("nms" + _SCHEMA)
            library.define("qnms" + _SCHEMA)
            _libraries.append(library)
            for name in [name for name in sys.modules if name.startswith("torchvision.")]:
                del sys.modules[name]
            self.loader.exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    looking = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != "torchvision" or self.looking:
            return None
        self.looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def install() -> None:
    """Called by the `.pth` file at every interpreter start."""
    sys.meta_path.insert(0, _Finder())
