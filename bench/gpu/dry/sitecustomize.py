"""With the stand-in for a GPU (`FAKE_GPU=1`): replaces what would crash or never end on garbage.

Python imports this file at start where its folder is on the path. The patches wait until their module is imported.
"""

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def sampler(module: ModuleType) -> None:
    """Let every request get one token a step: the counts are garbage, and a request would else never end."""
    import torch

    real = module.get_num_sampled_and_rejected

    def one_each(*args: Any, **kwargs: Any) -> Any:
        sampled, rejected = real(*args, **kwargs)
        sampled.copy_(torch.ones(sampled.shape, dtype=sampled.dtype))
        rejected.copy_(torch.zeros(rejected.shape, dtype=rejected.dtype))
        return sampled, rejected

    module.get_num_sampled_and_rejected = one_each  # type: ignore[attr-defined]


def detokenizer(module: ModuleType) -> None:
    """Make words of token ids that no vocabulary has."""
    module.convert_ids_list_to_tokens = lambda tokenizer, ids: ["x" for _ in ids]  # type: ignore[attr-defined]


def no_cudnn(torch: Any) -> None:
    """Switch cuDNN off, which the stand-in does not have."""
    torch.backends.cudnn.enabled = False
    torch.backends.cuda.enable_cudnn_sdp(False)


PATCHES: dict[str, Callable[[Any], None]] = {
    "vllm.v1.worker.gpu.sample.sampler": sampler,
    "vllm.tokenizers.detokenizer_utils": detokenizer,
    "torch": no_cudnn,
}


class Finder(importlib.abc.MetaPathFinder):
    """Patches a module after it was executed."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the module's own spec, with its loader's last step extended."""
        if name not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def execute(module: ModuleType) -> None:
            load(module)
            PATCHES[name](module)

        spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


if os.environ.get("FAKE_GPU"):
    sys.meta_path.insert(0, Finder())
