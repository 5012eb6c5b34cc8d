"""Wraps the attention implementation of a decoder layer: ordinary attention first, then EAH on the planned rows."""

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

from eah_vllm.engine.config import engine_settings
from eah_vllm.engine.cpu_metadata import cpu_metadata
from eah_vllm.method.eah import choose_heads
from eah_vllm.method.prompt_batch import PromptBatch, compile_kernels
from eah_vllm.method.shards import HeadShards
from eah_vllm.report import PREFIX_CACHED
from eah_vllm.reuse.prefix_attention import READABLE_IMPLS, attend_after_prefix
from eah_vllm.worker.batch_plan import EAHBatch
from eah_vllm.worker.intervention import Intervention

Chosen = tuple[EAHBatch, Tensor, bool]
"""Prompts, their choices (int64 `[prompts, 4]`, see `choose_heads`), and whether an earlier prompt recorded them."""


class EAHAttentionMixin:
    """Adds EAH to an attention implementation; it stands before a concrete `AttentionImpl` in the bases of a class.

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
        """Run ordinary attention (it writes the KV cache; generated rows keep it), then EAH on this step's prompts.

        Shapes: query and output `[tokens, num_heads, head_dim]`, key and value `[tokens, num_kv_heads, head_dim]`.
        """
        work = None
        if attn_metadata is not None:
            work = self.eah.plan.get(self.eah_layer)
        elif self.eah.kernels_wanted(query.device):  # vLLM profiles the model before any request
            compile_kernels(_dequantized(query, key, layer), key, value, output, self.scale, self.eah_shards)
        if work is None:
            return self.plain_attention(layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs)
        eah_query = _dequantized(query, key, layer)
        chosen = self._choose(work.whole, eah_query, key)
        result = output
        if not (self.kv_update_is_separate and work.whole_is_everything and _surely_broadcast(chosen)):
            result = self.plain_attention(layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs)
        for prompts, choices, reused in chosen:
            prompts.broadcast(choices, eah_query, key, value, output, self.scale, self.eah_shards)
            self.eah.note(prompts, self.eah_layer, choices, reused=reused)
        for prompt in work.cached:
            choice = self.eah.recorded.get(prompt.state.record, self.eah_layer)
            if choice is None:
                prompt.state.reason = PREFIX_CACHED
                continue
            rows = eah_query[prompt.rows], key[prompt.rows], value[prompt.rows]
            metadata = cpu_metadata(self, layer, attn_metadata, eah_query.dtype, prompt, kv_cache.shape[2])
            blocks = attn_metadata.block_table[prompt.batch_idx]
            changed = attend_after_prefix(self, layer, *rows, kv_cache, blocks, metadata, choice[0], prompt)
            output[prompt.rows] = torch.where(choice[3].bool(), changed, output[prompt.rows])
            self.eah.note(PromptBatch((prompt,)), self.eah_layer, choice[None], reused=True)
        return result

    def plain_attention(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the backend's own `forward`."""
        result: Tensor = super().forward(*args, **kwargs)  # type: ignore[misc]
        return result

    def _choose(self, whole: EAHBatch, query: Tensor, key: Tensor) -> list[Chosen]:
        """Return the source heads of whole prompts: chosen now, or recorded by an earlier one of equal image prefix."""

        def choose(prompts: EAHBatch) -> Tensor:
            return choose_heads(prompts, self.eah_layer, query, key, self.scale, self.eah_shards)

        if all(prompt.state.record is None for prompt in whole.slices):
            return [(whole, choose(whole), False)] if whole.slices else []
        chosen = []
        for one in (PromptBatch((prompt,)) for prompt in whole.slices):  # in turn: one may need what another records
            record = one.slices[0].state.record
            recorded = self.eah.recorded.get(record, self.eah_layer)
            choices = choose(one) if recorded is None else recorded[None]
            if recorded is None:
                self.eah.recorded.put(record, self.eah_layer, choices[0])
            chosen.append((one, choices, recorded is not None))
        return chosen

    def fused_output_quant_supported(self, quant_key: Any) -> bool:
        """Refuse this fusion: EAH rewrites rows of the unquantized output."""
        return False

    def fused_rope_kvcache_supported(self) -> bool:
        """Refuse this fusion: EAH needs the query and key after rotary embedding."""
        return False

    def fused_qk_norm_rope_kvcache_supported(self) -> bool:
        """Refuse this fusion: EAH needs the query and key after rotary embedding."""
        return False

    def fused_qk_norm_mrope_kvcache_supported(self) -> bool:
        """Refuse this fusion: EAH needs the query and key after rotary embedding."""
        return False


def _dequantized(query: Tensor, key: Tensor, layer: Any) -> Tensor:
    """Return the query in the key's dtype; with an FP8 KV cache some backends' queries arrive quantized."""
    return query.to(key.dtype) * layer._q_scale if query.dtype.itemsize == 1 else query


def _surely_broadcast(chosen: list[Chosen]) -> bool:
    """Whether it is known, without waiting for the device, that every prompt's rows will be overwritten."""
    return all(
        bool(choices[:, 3].all())
        if choices.device.type == "cpu"
        else all(isinstance(prompt.state.settings.head, int) for prompt in prompts.slices)
        for prompts, choices, _ in chosen
    )


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
