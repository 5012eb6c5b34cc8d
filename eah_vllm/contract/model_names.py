"""The names of vLLM by which the plugin wraps a model's attention layers, on every backend; part of `names.py`."""

from eah_vllm.contract.name import Name

BACKENDS = "vllm.v1.attention.backends."
FORWARD = "layer, query, key, value, kv_cache, attn_metadata, output, ..."
# Each of these lets a kernel do part of attention's work before `forward`. We refuse all, so we must know all.
FUSED = (
    "fused_*_supported: fused_output_quant_supported fused_rope_kvcache_supported"
    " fused_qk_norm_rope_kvcache_supported fused_qk_norm_mrope_kvcache_supported"
)

# These expressions show how the keys and values of a block lie in memory.
LAYOUT = "kv_cache.view((num_blocks, num_kv_heads, block_size * 2, -1))"
PAGES = "kv_cache.transpose(1, 2).split(self.head_size, dim=-1)"

# fmt: off
MODEL = (  # engine/model.py, layer.py, cpu_metadata.py, reuse/
    Name("vllm.model_executor.models.interfaces", "SupportsMultiModal.get_language_model", "the layers to wrap",
         calls=""),
    Name("vllm.model_executor.model_loader.utils", "initialize_model", "makes our model",
         reads="get_model_architecture vllm_config prefix", silent=True),
    Name("vllm.model_executor.models.utils", "extract_layer_index", "which layer this is", calls="layer_name"),
    Name("vllm.distributed", "get_tensor_model_parallel_rank", "heads of other ranks", calls=""),
    Name("vllm.distributed", "get_tensor_model_parallel_world_size", "heads of other ranks", calls=""),
    Name("vllm.distributed", "get_pp_group", "layers of other stages", calls=""),
    Name("vllm.distributed.parallel_state", "GroupCoordinator", "layers of other stages",
         fields="world_size cpu_group is_first_rank"),
    Name("vllm.distributed", "tensor_model_parallel_all_reduce", "heads of other ranks", calls="input_"),
    Name("vllm.model_executor.layers.attention", "Attention", "the layers to wrap",
         fields="impl sliding_window has_sink attn_backend attn_type use_mm_prefix kv_sharing_target_layer_name "
                "head_size head_size_v layer_name kv_cache_dtype"),
    Name("vllm.v1.attention.backend", "AttentionType", "plain causal layers", fields="DECODER"),
    Name("vllm.model_executor.layers.attention", "Attention.forward", "whether forward writes the KV cache",
         reads="forward_includes_kv_cache_update unified_kv_cache_update", silent=True),
    Name("vllm.v1.attention.backend", "AttentionBackend", "whether forward writes the KV cache",
         fields="forward_includes_kv_cache_update"),
    Name("vllm.model_executor.layers.attention.attention", "unified_attention_with_output", "calls our layer",
         reads="impl forward", silent=True),
    Name("vllm.model_executor.layers.attention.attention", "", "FP8 queries", reads="_q_scale"),
    Name("vllm.v1.attention.backend", "AttentionImpl", "our layer", fields="scale", closed=FUSED, silent=True),
    Name("vllm.v1.attention.backend", "AttentionImpl.forward", "our layer", overrides=FORWARD),
    Name("vllm.v1.attention.backend", "AttentionImpl.fused_output_quant_supported", "our layer", overrides="quant_key"),
    Name("vllm.v1.attention.backend", "AttentionImpl.fused_rope_kvcache_supported", "our layer", overrides=""),
    Name("vllm.v1.attention.backend", "AttentionImpl.fused_qk_norm_rope_kvcache_supported", "our layer", overrides=""),
    Name("vllm.v1.attention.backend", "AttentionImpl.fused_qk_norm_mrope_kvcache_supported", "our layer", overrides=""),
    Name(BACKENDS + "cpu_attn", "CPUAttentionBackendImpl.forward", "our layer", overrides=FORWARD, part="CPU"),
    Name(BACKENDS + "flash_attn", "FlashAttentionImpl.forward", "our layer", overrides=FORWARD, part="GPU"),
    Name(BACKENDS + "flashinfer", "FlashInferImpl.forward", "our layer", overrides=FORWARD, part="GPU"),
    Name(BACKENDS + "triton_attn", "TritonAttentionImpl.forward", "our layer", overrides=FORWARD, part="GPU"),
    Name(BACKENDS + "flex_attention", "FlexAttentionImpl.forward", "our layer", overrides=FORWARD, part="GPU"),
    Name(BACKENDS + "rocm_attn", "RocmAttentionImpl.forward", "our layer", overrides=FORWARD, part="GPU"),
    Name(BACKENDS + "flash_attn", "FlashAttentionImpl", "plain causal layers", fields="logits_soft_cap alibi_slopes",
         silent=True, part="GPU"),
    Name(BACKENDS + "cpu_attn", "CPUAttentionBackendImpl", "plain causal layers, prefix_reuse",
         fields="logits_soft_cap alibi_slopes num_heads num_kv_heads head_size kv_cache_dtype", silent=True,
         part="CPU"),
    Name(BACKENDS + "cpu_attn", "CPUAttentionBackendImpl.forward", "prefix_reuse", code=LAYOUT, silent=True,
         part="CPU"),
    Name(BACKENDS + "cpu_attn", "CPUAttentionBackendImpl.do_kv_cache_update", "prefix_reuse",
         calls="layer, key, value, kv_cache, slot_mapping", code=LAYOUT, silent=True, part="CPU"),
    Name(BACKENDS + "cpu_attn", "CPUAttentionMetadata", "prefix_reuse",
         fields="num_actual_tokens max_query_len query_start_loc max_seq_len seq_lens block_table slot_mapping "
                "scheduler_metadata causal dynamic_causal", part="CPU"),
    Name(BACKENDS + "cpu_attn", "CPUAttentionMetadataBuilder._set_isa_to_layers", "prefix_reuse", reads="isa",
         part="CPU"),
    Name("vllm._custom_ops", "cpu_attn_get_scheduler_metadata", "prefix_reuse",
         calls="num_reqs=, num_heads=, num_kv_heads=, head_dim=, seq_lens=, dtype=, query_start_loc=, causal=, "
               "sliding_window_size=, isa=, enable_kv_split=, dynamic_causal=, kv_cache_dtype=", part="CPU"),
    Name(BACKENDS + "flash_attn", "FlashAttentionImpl.do_kv_cache_update", "prefix_reuse", code=PAGES, silent=True,
         part="GPU"),
    Name(BACKENDS + "flash_attn", "FlashAttentionImpl.forward", "prefix_reuse", code=PAGES, silent=True, part="GPU"),
    Name(BACKENDS + "flash_attn", "FlashAttentionMetadata", "prefix_reuse", fields="block_table", part="GPU"),
    Name(BACKENDS + "triton_attn", "TritonAttentionImpl.do_kv_cache_update", "prefix_reuse", code=PAGES, silent=True,
         part="GPU"),
    Name(BACKENDS + "triton_attn", "TritonAttentionMetadata", "prefix_reuse", fields="block_table", part="GPU"),
    Name("vllm.envs", "VLLM_CPU_ATTN_SPLIT_KV", "prefix_reuse", part="CPU"),
)
# fmt: on
