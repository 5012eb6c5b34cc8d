"""Wraps the attention implementation of a decoder layer, so that methods can change what it computes."""

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.distributed import (
    get_pp_group,
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    tensor_model_parallel_all_reduce,
)
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.utils import extract_layer_index
from vllm.platforms import current_platform

from eah_vllm.engine.attention_call import AttentionCall
from eah_vllm.engine.config import engine_settings, model_shape
from eah_vllm.engine.plain_causal import NO_ATTENTION, why_not_plain_causal
from eah_vllm.engine.refusals import refuse_unreadable_cache
from eah_vllm.engine.row_slots import row_buffers
from eah_vllm.method.base import LayerStep
from eah_vllm.method.rows import LayerSize
from eah_vllm.method.shards import HeadShards
from eah_vllm.reuse.paged_prefix import PAGED_IMPLS
from eah_vllm.worker.intervention import Intervention

logger = logging.getLogger("vllm.eah")


class EAHAttentionMixin:
    """Adds the methods to an attention implementation; it stands before a concrete `AttentionImpl` in a class's bases.

    It makes a subclass and no proxy, because vLLM's metadata builders look for real instances of the backend's class.
    """

    eah: Intervention
    eah_layer: int
    eah_shards: HeadShards
    kv_is_paged: bool
    """Whether `reuse/paged_prefix.py` can read the KV cache; otherwise `reuse/prefix_attention.py` can, or nobody."""
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
        if not profiling and self.eah_layer not in self.eah.plan.layers:
            result = self.plain_attention(layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs)
            self.eah.apply_rows(self.eah_layer, output)
            return result
        call = AttentionCall(self, layer, query, key, value, kv_cache, attn_metadata, output, args, kwargs)
        # With an FP8 KV cache some backends' queries arrive quantized.
        eah_query = query.to(key.dtype) * layer._q_scale if query.dtype.itemsize == 1 else query
        at = LayerStep(
            self.eah_layer, eah_query, key, value, output, self.scale, self.eah_shards, call,
            writes_cache=not self.kv_update_is_separate, rows=self.eah.rows,
        )  # fmt: skip
        if profiling:
            self.eah.warm_up(at)
            return at.ordinary()
        self.eah.act(at)
        result = at.ordinary()
        self.eah.apply_rows(self.eah_layer, output)
        return result

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


def wrap_decoder_layers(vllm_config: VllmConfig, language_model: nn.Module, intervention: Intervention) -> None:
    """Wrap the attention of every decoder layer of this pipeline stage, and note why others cannot be changed.

    Vision towers and resamplers stand outside the language model.

    Raises:
        ValueError: `prefix_reuse` cannot read the keys of a layer.
        RuntimeError: no layer of any stage can be changed or refused, so EAH could never be applied.
    """
    shards = HeadShards(
        get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size(), tensor_model_parallel_all_reduce
    )
    prefix_reuse = engine_settings(vllm_config).prefix_reuse
    reasons: dict[int, str] = {}
    sizes: dict[int, LayerSize] = {}
    for attention in language_model.modules():
        if not isinstance(attention, Attention):
            continue
        layer = extract_layer_index(attention.layer_name)
        intervention.local_layers.add(layer)
        reason = why_not_plain_causal(attention)
        if reason is not None:
            reasons[layer] = reason
            continue
        impl_name = type(attention.impl).__name__
        if prefix_reuse:
            refuse_unreadable_cache(impl_name, attention.kv_cache_dtype)
        # It takes over the state: making a new implementation would need the backend's constructor arguments.
        wrapped: Any = object.__new__(eah_impl_class(type(attention.impl)))
        wrapped.__dict__.update(vars(attention.impl), eah=intervention, eah_layer=layer, eah_shards=shards)
        wrapped.kv_is_paged = impl_name in PAGED_IMPLS
        wrapped.kv_update_is_separate = not attention.attn_backend.forward_includes_kv_cache_update
        attention.impl = wrapped
        sizes[layer] = LayerSize(attention.num_heads, attention.head_size)
    seen, reasons = _of_all_stages(intervention.local_layers, reasons)
    if not seen:
        raise RuntimeError("EAH (eah_vllm) cannot run here: the language model has no attention layer.")
    without = set(range(model_shape(vllm_config.model_config).num_layers)) - seen
    intervention.unsupported_layers = reasons | dict.fromkeys(without, NO_ATTENTION)
    if get_pp_group().is_first_rank:  # a request that names only such layers is some stage's to report on
        intervention.local_layers |= without
    _log(intervention.unsupported_layers)
    intervention.rows = row_buffers(vllm_config, sizes, next(language_model.parameters()).device)
    intervention.graphs = intervention.rows is not None and not current_platform.is_cpu()


def _of_all_stages(layers: set[int], reasons: dict[int, str]) -> tuple[set[int], dict[int, str]]:
    """Return the union of these over all pipeline stages, each of which builds its part of the model now.

    A request is changed in all of its layers or in none, so every stage must know what the others cannot do.
    """
    stages = get_pp_group()
    if stages.world_size == 1:
        return layers, reasons
    gathered: list[tuple[set[int], dict[int, str]]] = [(set(), {})] * stages.world_size
    torch.distributed.all_gather_object(gathered, (layers, reasons), group=stages.cpu_group)
    return set().union(*(mine for mine, _ in gathered)), dict(item for _, part in gathered for item in part.items())


def _log(unsupported: dict[int, str]) -> None:
    for reason in sorted(set(unsupported.values())):
        layers = ", ".join(str(layer) for layer in sorted(unsupported) if unsupported[layer] == reason)
        logger.info("EAH cannot change layers %s: %s.", layers, reason)
