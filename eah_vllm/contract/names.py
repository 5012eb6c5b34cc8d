"""Every name of vLLM that the plugin uses; `check.py` compares them with the installed vLLM.

Those of the model and its attention layers are in `model_names.py`, those of a request in `request_names.py`. A name
that is new in our code needs a row: `tests/contract/test_vllm_names.py` looks for missing ones.
"""

from eah_vllm.contract.model_names import MODEL
from eah_vllm.contract.name import Name
from eah_vllm.contract.request_names import REQUEST

# fmt: off
START = (  # engine/registration.py, config.py, refusals.py
    Name("vllm.plugins", "DEFAULT_PLUGINS_GROUP", "our entry point", equals="vllm.general_plugins"),
    Name("vllm", "ModelRegistry", "our model classes"),
    Name("vllm", "__version__", "names our model classes in the cache of inspected ones"),
    Name("vllm.model_executor.models.registry", "_ModelRegistry.register_model", "our model classes",
         calls="model_arch, model_cls"),
    Name("vllm.model_executor.models.registry", "_ModelRegistry.get_supported_archs", "our config hook", calls=""),
    Name("vllm.model_executor.models.registry", "_ModelRegistry", "our model classes", fields="models"),
    Name("vllm.model_executor.models.registry", "_LazyRegisteredModel", "our model classes",
         fields="module_name class_name"),
    Name("vllm.model_executor.models.registry", "_RegisteredModel", "our model classes", fields="model_cls"),
    Name("vllm.model_executor.models.config", "MODELS_CONFIG_MAP", "our config hook"),
    Name("vllm.model_executor.models.config", "VerifyAndUpdateConfig", "our config hook"),
    Name("vllm.model_executor.models.config", "VerifyAndUpdateConfig.verify_and_update_config", "our config hook",
         overrides="vllm_config"),
    Name("vllm.config.vllm", "VllmConfig.__post_init__", "calls our config hook", reads="try_verify_and_update_config",
         silent=True),
    Name("vllm.config.vllm", "VllmConfig.try_verify_and_update_config", "calls our config hook",
         reads="MODELS_CONFIG_MAP verify_and_update_config", silent=True),
    Name("vllm.config", "VllmConfig", "the configuration",
         fields="model_config parallel_config scheduler_config compilation_config speculative_config cache_config "
                "kv_transfer_config additional_config use_v2_model_runner"),
    Name("vllm.config", "ModelConfig", "the model's shape, our admission, what we refuse",
         fields="hf_config model_arch_config max_model_len logits_processors return_sampling_mask use_mla architecture "
                "runner_type is_multimodal_model is_hybrid dtype"),
    Name("vllm.config.model_arch", "ModelArchitectureConfig", "the model's shape",
         fields="total_num_hidden_layers total_num_attention_heads"),
    Name("vllm.config", "CacheConfig", "what we refuse",
         fields="cache_dtype kv_offloading_size kv_sharing_fast_prefill mamba_cache_mode"),
    Name("vllm.v1.kv_cache_interface", "is_quantized_kv_cache", "what we refuse", calls="kv_cache_dtype"),
    Name("vllm.config", "KVTransferConfig", "what we refuse", fields="kv_connector"),
    Name("vllm.config", "SpeculativeConfig", "whole prompts",
         fields="num_speculative_tokens max_num_new_slots_for_drafting"),
    Name("vllm.config.parallel", "ParallelConfig", "our worker, what we refuse",
         fields="worker_cls decode_context_parallel_size prefill_context_parallel_size pipeline_parallel_size "
                "use_ubatching"),
    Name("vllm.config.scheduler", "SchedulerConfig", "our scheduler, whole prompts",
         fields="scheduler_cls async_scheduling enable_chunked_prefill long_prefill_token_threshold max_num_seqs "
                "long_prefill_token_threshold_adaptive "
                "max_num_batched_tokens max_num_scheduled_tokens max_num_encoder_input_tokens encoder_cache_size"),
    Name("vllm.config.compilation", "CompilationConfig", "the layers to wrap, CUDA graphs",
         fields="cudagraph_mode"),
    Name("vllm.config", "CUDAGraphMode", "what we refuse", fields="FULL"),
    Name("vllm.config", "CUDAGraphMode.mixed_mode", "what we refuse", calls=""),
    Name("vllm.config", "CUDAGraphMode.has_full_cudagraphs", "what we refuse", calls=""),
    Name("vllm.envs", "VLLM_USE_RUST_FRONTEND", "what we refuse"),
    Name("vllm.platforms", "Platform", "which worker to use"),
    Name("vllm.platforms", "current_platform", "which worker to use"),
    Name("vllm.platforms.interface", "Platform", "which worker to use", fields="device_name"),
    Name("vllm.platforms.interface", "Platform.is_cpu", "which worker to use", calls=""),
    Name("vllm.platforms.interface", "Platform.is_cuda_alike", "which worker to use", calls=""),
    Name("vllm.logger", "init_logger", "logging", calls="name"),
    Name("vllm.logger", "_VllmLogger.info_once", "logging", calls="msg"),
)

WORKER = (  # engine/runner_v1.py, runner_v2.py, cpu_worker.py, gpu_worker.py, worker/intervention.py
    Name("vllm.v1.worker.worker_base", "WorkerWrapperBase.init_worker", "makes our worker", reads="worker_cls",
         silent=True),
    Name("vllm.v1.worker.cpu_worker", "CPUWorker", "our worker", fields="model_runner use_v2_model_runner", part="CPU"),
    Name("vllm.v1.worker.cpu_worker", "CPUWorker.init_device", "what we refuse", overrides="", part="CPU"),
    Name("vllm.v1.worker.cpu_worker", "CPUWorker.execute_model", "our worker", overrides="scheduler_output",
         part="CPU"),
    Name("vllm.v1.worker.cpu_worker", "CPUWorker.get_model", "finds our model", calls="", part="CPU"),
    Name("vllm.v1.worker.gpu_worker", "Worker", "our worker", fields="model_runner use_v2_model_runner", part="GPU"),
    Name("vllm.v1.worker.gpu_worker", "Worker.init_device", "what we refuse", overrides="", part="GPU"),
    Name("vllm.v1.worker.gpu_worker", "Worker.execute_model", "our worker", overrides="scheduler_output", part="GPU"),
    Name("vllm.v1.worker.gpu_worker", "Worker.get_model", "finds our model", calls="", part="GPU"),
    Name("vllm.v1.core.sched.output", "SchedulerOutput", "a step's requests",
         fields="finished_req_ids scheduled_new_reqs scheduled_cached_reqs num_scheduled_tokens"),
    Name("vllm.v1.core.sched.output", "CachedRequestData", "preempted requests that go on", fields="resumed_req_ids"),
    Name("vllm.v1.core.sched.output", "NewRequestData", "a new request",
         fields="req_id prompt_len mm_features sampling_params"),
    Name("vllm.multimodal.inputs", "MultiModalFeatureSpec", "the images",
         fields="modality mm_position identifier mm_hash"),
    Name("vllm.multimodal.inputs", "PlaceholderRange", "where the images are", fields="offset length is_embed"),
    Name("vllm.multimodal.inputs", "PlaceholderRange.get_num_embeds", "whole prompts", calls=""),
    Name("vllm.v1.worker.gpu_model_runner", "GPUModelRunner.__init__", "a step's batch",
         reads="input_batch InputBatch", part="V1"),
    Name("vllm.v1.worker.gpu_input_batch", "InputBatch", "a step's batch", fields="req_ids num_computed_tokens_cpu",
         part="V1"),
    Name("vllm.v1.worker.gpu.model_states", "resolve_model_state_cls", "asks our model for its state, and we ask it",
         calls="vllm_config, model", reads="get_model_state_cls", silent=True, part="V2"),
    Name("vllm.v1.worker.gpu.model_states.default", "DefaultModelState", "our state", fields="model", part="V2"),
    Name("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.add_request", "our state",
         overrides="req_index, new_req_data", part="V2"),
    Name("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.remove_request", "our state",
         overrides="req_id", part="V2"),
    Name("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.prepare_attn", "our state",
         overrides="input_batch, ...", part="V2"),
    Name("vllm.v1.worker.gpu.model_states.default", "DefaultModelState.get_additional_cg_support", "our state",
         overrides="", part="V2"),
    Name("vllm.v1.worker.gpu.model_runner", "GPUModelRunner.add_requests", "calls our state",
         reads="model_state add_request", silent=True, part="V2"),
    Name("vllm.v1.worker.gpu.model_runner", "GPUModelRunner._remove_request", "calls our state",
         reads="model_state remove_request", silent=True, part="V2"),
    Name("vllm.v1.worker.gpu.model_runner", "GPUModelRunner.execute_model", "calls our state",
         reads="model_state prepare_attn", silent=True, part="V2"),
    Name("vllm.v1.worker.gpu.model_runner", "GPUModelRunner.initialize_kv_cache", "calls our state",
         reads="model_state get_additional_cg_support", silent=True, part="V2"),
    Name("vllm.v1.worker.gpu.input_batch", "InputBatch", "a step's batch",
         fields="req_ids query_start_loc_np num_computed_tokens_np num_scheduled_tokens", part="V2"),
    Name("vllm.v1.attention.backend", "AttentionCGSupport", "graphs of decode steps alone", fields="UNIFORM_BATCH",
         part="V2"),
)

SCENES = (  # scenes/evaluate.py
    Name("vllm", "LLM", "evaluating the built-in model", calls="model"),
    Name("vllm", "LLM.generate", "evaluating the built-in model", calls="prompts, sampling_params"),
    Name("vllm", "SamplingParams", "evaluating the built-in model",
         fields="temperature max_tokens logit_bias extra_args"),
    Name("vllm.inputs", "TextPrompt", "evaluating the built-in model", fields="prompt multi_modal_data"),
)
# fmt: on

SERVING = START + MODEL + REQUEST + WORKER
NAMES = SERVING + SCENES
