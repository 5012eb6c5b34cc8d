"""One call of vLLM's attention, kept so that it can be made at the right moment, or in parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eah_vllm.engine.cpu_metadata import cpu_metadata
from eah_vllm.method.base import LayerStep, Parts, Prompt
from eah_vllm.reuse.paged_prefix import attend_after_prefixes
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


def attend_after_cached_prefixes(at: LayerStep, prompts: Parts[Prompt], choices: Tensor) -> None:
    """Overwrite the rows of prompts after their cached prefixes (`prefix_reuse`).

    Args:
        at: layer and step.
        prompts: the prompts and their rows in this step.
        choices: `[prompts, 5]`, see `ReusedHeads.on_prompts`.
    """
    call = at.attention
    assert isinstance(call, AttentionCall)
    if call.impl.kv_is_paged:
        attend_after_prefixes(at, prompts, choices, call.kv_cache, call.metadata.block_table)
        return
    for part, choice in zip(prompts.parts, choices, strict=True):
        rows = at.query[part.rows], at.key[part.rows], at.value[part.rows]
        metadata = cpu_metadata(call.impl, call.layer, call.metadata, at.query.dtype, part, call.kv_cache.shape[2])
        blocks = call.metadata.block_table[part.batch_idx]
        changed = attend_after_prefix(call.impl, call.layer, *rows, call.kv_cache, blocks, metadata, choice[0], part)
        at.output[part.rows] = torch.where(choice[3].bool(), changed, at.output[part.rows])
