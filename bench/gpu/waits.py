"""Makes each wait of the host for the GPU an error, in whatever of ours vLLM calls within a step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_strict = False


def watch() -> None:
    """Wrap what vLLM calls in every step; before the engine is made, because layers take their classes then."""
    from eah_vllm.engine.layer import EAHAttentionMixin
    from eah_vllm.engine.runner_v2 import EAHModelStateMixin

    for owner, names in (
        (EAHAttentionMixin, ("forward",)),
        (EAHModelStateMixin, ("add_request", "prepare_attn", "remove_request")),
    ):
        for name in names:
            setattr(owner, name, _watched(getattr(owner, name)))


@contextmanager
def refused() -> Iterator[None]:
    """Raise a RuntimeError where the host waits for the GPU in a watched function, while this is open."""
    global _strict
    _strict = True
    try:
        yield
    finally:
        _strict = False


def _watched(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _strict or not torch.cuda.is_available():
            return function(*args, **kwargs)
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            return function(*args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    return call
