"""Tensors that say they are on a GPU, hold their values in host memory, count launches, and refuse what would wait.

A machine without a GPU can run the path that GPUs take with them: torch's operations run on the host memory, and
Triton's kernels in its interpreter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")
"""What the tensors say: torch built for CPUs cannot index a tensor that says `cuda`."""
LOOKS = {
    "_local_scalar_dense",  # item, tolist, bool, int, float, an index that is a tensor without dimensions
    "is_nonzero",
    "nonzero",
    "masked_select",
    "equal",
    "allclose",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
    "bincount",
    "histc",
}
"""Operations whose result the host must know before it can go on."""
NO_LAUNCH = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh", "alias"}
"""Operations that are no views, but start nothing on a GPU either."""


class WaitsForTheGPU(AssertionError):
    """The host would have waited for the GPU."""


class OnGPU(torch.Tensor):
    """A tensor on the pretended GPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnGPU:
        made: OnGPU = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=GPU,
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the pretended GPU")

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return f"OnGPU({tuple(self.shape)})"


class PretendedGPU(TorchDispatchMode):
    """While it is entered, tensors may be made on `GPU`, and what would wait for them raises `WaitsForTheGPU`."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        """What was started on the GPU, by name: torch's operations, copies and Triton's kernels."""
        self._pinned: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, on_gpu = func.overloadpacket.__name__, _device_of(kwargs)
        if name == "is_pinned":
            return args[0].untyped_storage().data_ptr() in self._pinned
        if name == "_pin_memory":
            return self._pin(args[0].clone())
        if name in ("empty", "empty_like") and kwargs.pop("pin_memory", False):
            return self._pin(func(*_values(args), **kwargs))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        from_gpu = any(isinstance(tensor, OnGPU) for tensor in tensors)
        if any(tensor.device == GPU and not isinstance(tensor, OnGPU) for tensor in tensors):
            raise WaitsForTheGPU("a tensor on the GPU that was made from a list")
        if name in ("_to_copy", "copy_"):
            self._copy(name, args, kwargs)
        elif not from_gpu and on_gpu is not GPU:
            return func(*args, **kwargs)
        else:
            self._refuse(name, args)
        if not func.is_view and name not in NO_LAUNCH:
            self.launched[name] += 1
        to_gpu = on_gpu is GPU if "device" in kwargs and kwargs["device"] is not None else from_gpu
        if "device" in kwargs:
            kwargs = kwargs | {"device": torch.device("cpu")}
        result = func(*_values(args), **_values(kwargs))
        if name == "copy_":
            return args[0]
        if not to_gpu:
            return result
        wrapped = tree_map(lambda leaf: OnGPU(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if _writes(func) else wrapped

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned.add(tensor.untyped_storage().data_ptr())
        return tensor

    def _copy(self, name: str, args: Any, kwargs: Any) -> None:
        """Refuse copies between host and GPU that wait."""
        if name == "copy_":
            to, source = args[0], args[1]
            non_blocking = (args[2] if len(args) > 2 else kwargs.get("non_blocking", False)) is True
            there, here = isinstance(to, OnGPU), isinstance(source, OnGPU)
            host = source if there else to
        else:
            source, host = args[0], args[0]
            non_blocking = kwargs.get("non_blocking", False)
            here = isinstance(source, OnGPU)
            there = here if kwargs.get("device") is None else _device_of(kwargs) is GPU
            if here and not there:
                raise WaitsForTheGPU(f"{name} into host memory that is not pinned")
        if here == there:
            return
        if not non_blocking:
            raise WaitsForTheGPU(f"{name} between host and GPU that is not non_blocking")
        # Of what sync debug mode lets pass, this waits too: such memory is staged once the stream has come so far.
        if host.untyped_storage().data_ptr() not in self._pinned:
            raise WaitsForTheGPU(f"{name} of host memory that is not pinned")

    def _refuse(self, name: str, args: Any) -> None:
        if name in LOOKS:
            raise WaitsForTheGPU(name)
        if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    raise WaitsForTheGPU(f"{name} by a mask")
                if index is not None and not isinstance(index, OnGPU):
                    raise WaitsForTheGPU(f"{name} by an index in host memory")
        if name == "repeat_interleave":
            raise WaitsForTheGPU(name)


def _writes(func: Any) -> bool:
    return any(argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments)


def _device_of(kwargs: Any) -> torch.device | None:
    device = kwargs.get("device")
    return GPU if device is not None and torch.device(device) == GPU else device


def _values(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.values if isinstance(leaf, OnGPU) else leaf, tree)


class _NoLists(TorchFunctionMode):
    """Refuses what the mode of the dispatcher does not see: tensors that are made on the GPU from numbers in a list."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and _device_of(kwargs) is GPU:
            raise WaitsForTheGPU(f"{func.__name__} on the GPU")
        return func(*args, **kwargs)


class _Kernel:
    """One of Triton's kernels, interpreted on the values of pretended tensors."""

    def __init__(self, name: str, kernel: Any, gpu: PretendedGPU) -> None:
        self._name, self._kernel, self._gpu = name, kernel, gpu

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            self._gpu.launched[f"kernel {self._name}"] += 1
            with torch.utils._python_dispatch._disable_current_modes():
                self._kernel[grid](*_values(args), **_values(kwargs))

        return launch


class _Event:
    """What marks a place in the stream; the pretended GPU has always come that far."""

    def __init__(self, device: torch.device) -> None:
        assert device == GPU

    def record(self) -> None: ...

    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...


@contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """Let the product's kernels and events run on a pretended GPU; this needs `TRITON_INTERPRET=1`."""
    from eah_vllm.kernels import launch

    gpu, event, lazy_init = PretendedGPU(), torch.Event, torch.cuda._lazy_init
    kernels = {name: getattr(launch, name) for name in ("row_log_sum_exp", "column_sums", "mix_values")}
    for name, kernel in kernels.items():
        setattr(launch, name, _Kernel(name, kernel, gpu))
    torch.Event = _Event  # type: ignore[assignment, misc]
    torch.cuda._lazy_init = lambda: None  # `pin_memory` calls it before it asks the mode
    try:
        with gpu, _NoLists():
            yield gpu
    finally:
        torch.Event, torch.cuda._lazy_init = event, lazy_init  # type: ignore[misc]
        for name, kernel in kernels.items():
            setattr(launch, name, kernel)
