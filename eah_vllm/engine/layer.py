"""Wraps the attention implementation of a decoder layer, so that methods can change what it computes."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.distributed import (
    get_pp_group,
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    tensor_model_parallel_all_reduce,
)
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.utils import extract_layer_index

from eah_vllm.engine.attention_call import AttentionCall
from eah_vllm.engine.config import engine_settings
from eah_vllm.method.base import LayerStep
from eah_vllm.method.shards import HeadShards
from eah_vllm.reuse.prefix_attention import READABLE_IMPLS
from eah_vllm.worker.intervention import Intervention


class EAHAttentionMixin:
    """Adds the methods to an attention implementation; it stands before a concrete `AttentionImpl` in a class's bases.

    It makes a subclass and no proxy, because vLLM's metadata builders look for real instances of the backend's class.
    """

    eah: Intervention
    eah_layer: int
    eah_shards: HeadShards
    kv_update_is_separate: bool
    """Whether vLLM writes the KV cache before `forward`, so that `forward` may be left out."""
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
        """Run vLLM's attention, and the methods that this step's requests ask for in this layer.

        Shapes: query and output `[tokens, num_heads, head_dim]`, key and value `[tokens, num_kv_heads, head_dim]`.
        """
        profiling = attn_metadata is None  # vLLM profiles the model before any request
        if not profiling and self.eah_layer not in self.eah.plan:
            return self.plain_attention(layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs)
        call = AttentionCall(self, layer, query, key, value, kv_cache, attn_metadata, output, args, kwargs)
        # With an FP8 KV cache some backends' queries arrive quantized.
        eah_query = query.to(key.dtype) * layer._q_scale if query.dtype.itemsize == 1 else query
        at = LayerStep(
            self.eah_layer, eah_query, key, value, output, self.scale, self.eah_shards, call,
            writes_cache=not self.kv_update_is_separate,
        )  # fmt: skip
        if profiling:
            self.eah.warm_up(at)
        else:
            self.eah.act(at)
        return at.ordinary()

    def plain_attention(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the backend's own `forward`."""
        result: Tensor = super().forward(*args, **kwargs)  # type: ignore[misc]
        return result

    def fused_output_quant_supported(self, quant_key: Any) -> bool:
        """Refuse this fusion: methods rewrite rows of the unquantized output."""
        return False

    def fused_rope_kvcache_supported(self) -> bool:
        """Refuse this fusion: methods need the query and key after rotary embedding."""
        return False

    def fused_qk_norm_rope_kvcache_supported(self) -> bool:
        """Refuse this fusion: methods need the query and key after rotary embedding."""
        return False

    def fused_qk_norm_mrope_kvcache_supported(self) -> bool:
        """Refuse this fusion: methods need the query and key after rotary embedding."""
        return False


@cache
def eah_impl_class(impl_class: type) -> type:
    """Return the EAH subclass of a backend's implementation class."""
    return type("EAH" + impl_class.__name__, (EAHAttentionMixin, impl_class), {})


def _is_plain_causal(attention: Attention) -> bool:
    soft_cap = getattr(attention.impl, "logits_soft_cap", None)
    alibi_slopes = getattr(attention.impl, "alibi_slopes", None)
    return attention.sliding_window is None and not attention.has_sink and not soft_cap and alibi_slopes is None


def wrap_decoder_layers(vllm_config: VllmConfig, prefix: str, intervention: Intervention) -> None:
    """Wrap the attention of every decoder layer of this pipeline stage whose name starts with `prefix`.

    Raises:
        RuntimeError: there is no such layer, so EAH could never be applied.
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
        # It takes over the state: making a new implementation would need the backend's constructor arguments.
        wrapped: Any = object.__new__(eah_impl_class(type(attention.impl)))
        wrapped.__dict__.update(vars(attention.impl), eah=intervention, eah_layer=layer, eah_shards=shards)
        wrapped.kv_update_is_separate = not attention.attn_backend.forward_includes_kv_cache_update
        attention.impl = wrapped
    if not intervention.local_layers:
        raise RuntimeError(f"EAH (eah_vllm) cannot run here: no attention layer's name starts with {prefix!r}.")
    intervention.unsupported_layers = _of_all_stages(intervention.unsupported_layers)


def _of_all_stages(layers: set[int]) -> set[int]:
    """Return the union of these layers over all pipeline stages, each of which builds its part of the model now.

    A request is changed in all of its layers or in none, so every stage must know what the others cannot do.
    """
    stages = get_pp_group()
    if stages.world_size == 1:
        return layers
    gathered: list[set[int]] = [set()] * stages.world_size
    torch.distributed.all_gather_object(gathered, layers, group=stages.cpu_group)
    return set().union(*gathered)
