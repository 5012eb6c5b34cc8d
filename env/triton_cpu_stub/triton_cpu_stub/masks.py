"""Mends Triton 3.9's interpreter, in every process of an engine: entry point `vllm.general_plugins`."""

from typing import Any

import numpy as np


def keep_masks_boolean() -> None:
    """Splat a scalar as the type of its data.

    The interpreter calls `scalar > 0` an int32, so it splats one to an int32 block and then refuses that block as (part
    of) a load's mask. vLLM's n-gram speculator has such a mask. The data are boolean all along.
    """
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def create_splat(self: Any, ret_ty: Any, arg: Any) -> Any:
        return TensorHandle(np.full(ret_ty.shape, arg.data, dtype=arg.data.dtype), arg.dtype.scalar)

    InterpreterBuilder.create_splat = create_splat
