"""One call of vLLM's attention, kept so that it can be made at the right moment, or in parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from eah_vllm.engine.cpu_metadata import cpu_metadata
from eah_vllm.method.base import LayerStep, Part, Prompt
from eah_vllm.reuse.prefix_attention import attend_after_prefix


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """The arguments of `AttentionImpl.forward`, and the implementation that takes them."""

    impl: Any
    layer: Any
    query: Tensor
    key: Tensor
    value: Tensor
    kv_cache: Tensor
    metadata: Any
    output: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self) -> Tensor:
        """Run the backend's own `forward`."""
        tensors = self.query, self.key, self.value, self.kv_cache, self.metadata, self.output
        result: Tensor = self.impl.plain_attention(self.layer, *tensors, *self.args, **self.kwargs)
        return result


def attend_after_cached_prefix(at: LayerStep, prompt: Part[Prompt], source: Tensor) -> Tensor:
    """Compute the rows of a prompt after its cached prefix, in the backend's own kernel (`prefix_reuse`).

    Args:
        at: layer and step.
        prompt: the prompt and its rows in this step.
        source: the head whose map every head uses, int64 scalar.

    Returns:
        `[rows, local heads, head_dim]`.
    """
    call = at.attention
    assert isinstance(call, AttentionCall)
    rows = at.query[prompt.rows], at.key[prompt.rows], at.value[prompt.rows]
    metadata = cpu_metadata(call.impl, call.layer, call.metadata, at.query.dtype, prompt, call.kv_cache.shape[2])
    blocks = call.metadata.block_table[prompt.batch_idx]
    return attend_after_prefix(call.impl, call.layer, *rows, call.kv_cache, blocks, metadata, source, prompt)
