"""Wraps the attention implementation of a decoder layer: ordinary attention first, then EAH on the planned rows."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.distributed import (
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    tensor_model_parallel_all_reduce,
)
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.utils import extract_layer_index

from eah_vllm.batch_plan import PrefillSlice
from eah_vllm.eah import HeadShards, broadcast_head, choose_head
from eah_vllm.engine_config import engine_settings
from eah_vllm.intervention import Intervention
from eah_vllm.prefix_attention import READABLE_IMPLS, attend_after_prefix
from eah_vllm.report import PREFIX_CACHED


class EAHAttentionMixin:
    """Put before a concrete `AttentionImpl` in the method resolution order.

    A subclass, not a proxy: vLLM's metadata builders look for real instances of the backend's class.
    """

    eah: Intervention
    eah_layer: int
    eah_shards: HeadShards
    scale: float

    def forward(
        self,
        layer: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Ordinary attention (KV cache written, decode untouched), then EAH on this step's prompts.

        Shapes: query and output `[tokens, num_heads, head_dim]`, key and value `[tokens, num_kv_heads, head_dim]`.
        """
        result = self.plain_attention(layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs)
        if attn_metadata is None:  # a profiling run
            return result
        for piece in self.eah.plan.for_layer(self.eah_layer):
            rows = slice(piece.row_start, piece.row_start + piece.num_rows)
            prompt_query = query[rows]
            if prompt_query.dtype.itemsize == 1:  # FP8 KV cache: this query arrives quantized
                prompt_query = prompt_query.to(key.dtype) * layer._q_scale
            choice, recorded = self._choice(piece, prompt_query, key[rows])
            if choice is None:
                continue
            if piece.num_cached == 0:
                changed = broadcast_head(choice[0], prompt_query, key[rows], value[rows], self.scale, self.eah_shards)
            else:
                prompt = prompt_query, key[rows], value[rows]
                changed = attend_after_prefix(self, layer, *prompt, kv_cache, attn_metadata, choice[0], piece)
            output[rows] = torch.where(choice[3].bool(), changed, output[rows])
            self.eah.note(piece, self.eah_layer, choice, reused=recorded)
        return result

    def plain_attention(self, *args: Any, **kwargs: Any) -> Tensor:
        """The backend's own `forward`."""
        result: Tensor = super().forward(*args, **kwargs)  # type: ignore[misc]
        return result

    def _choice(self, piece: PrefillSlice, query: Tensor, key: Tensor) -> tuple[Tensor | None, bool]:
        """As from `choose_head`, and whether an earlier request recorded it; None where nothing can be chosen."""
        state, recorded = piece.state, self.eah.recorded.get(piece.state.record, self.eah_layer)
        if recorded is not None:
            return recorded, True
        if piece.num_cached > 0:
            state.reason = PREFIX_CACHED
            return None, False
        choice = choose_head(state, self.eah_layer, query, key, self.scale, self.eah_shards)
        self.eah.recorded.put(state.record, self.eah_layer, choice)
        return choice, False

    def fused_output_quant_supported(self, quant_key: Any) -> bool:
        """No: EAH rewrites rows of the unquantized output."""
        return False

    def fused_rope_kvcache_supported(self) -> bool:
        """No: EAH needs the query and key after rotary embedding."""
        return False

    def fused_qk_norm_rope_kvcache_supported(self) -> bool:
        """No: EAH needs the query and key after rotary embedding."""
        return False

    def fused_qk_norm_mrope_kvcache_supported(self) -> bool:
        """No: EAH needs the query and key after rotary embedding."""
        return False


@cache
def eah_impl_class(impl_class: type) -> type:
    """The EAH subclass of a backend's implementation class."""
    return type("EAH" + impl_class.__name__, (EAHAttentionMixin, impl_class), {})


def _is_plain_causal(attention: Attention) -> bool:
    soft_cap = getattr(attention.impl, "logits_soft_cap", None)
    alibi_slopes = getattr(attention.impl, "alibi_slopes", None)
    return attention.sliding_window is None and not attention.has_sink and not soft_cap and alibi_slopes is None


def wrap_decoder_layers(vllm_config: VllmConfig, prefix: str, intervention: Intervention) -> None:
    """Wrap the attention of every decoder layer of this pipeline stage whose name starts with `prefix`.

    Raises:
        RuntimeError: no such layer, so that EAH could never be applied.
    """
    shards = HeadShards(
        get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size(), tensor_model_parallel_all_reduce
    )
    prefix_reuse = engine_settings(vllm_config).prefix_reuse
    for name, attention in vllm_config.compilation_config.static_forward_context.items():
        if not isinstance(attention, Attention) or not name.startswith(prefix):
            continue
        layer = extract_layer_index(name)
        intervention.local_layers.add(layer)
        if not _is_plain_causal(attention):
            intervention.unsupported_layers.add(layer)
            continue
        impl_name = type(attention.impl).__name__
        if prefix_reuse and impl_name not in READABLE_IMPLS:
            raise ValueError(
                f"EAH (eah_vllm) cannot run here: prefix_reuse cannot read the KV cache of {impl_name}; leave it off."
            )
        # The same state under a subclass: building a new implementation would need the backend's constructor arguments.
        wrapped: Any = object.__new__(eah_impl_class(type(attention.impl)))
        wrapped.__dict__.update(vars(attention.impl), eah=intervention, eah_layer=layer, eah_shards=shards)
        attention.impl = wrapped
    if not intervention.local_layers:
        raise RuntimeError(f"EAH (eah_vllm) cannot run here: no attention layer's name starts with {prefix!r}.")
