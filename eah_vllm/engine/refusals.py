"""Refuses at start what vLLM can do and EAH cannot, in one sentence that names the option to change."""

from typing import Any

import vllm.envs as envs
from vllm.config import CUDAGraphMode, VllmConfig
from vllm.platforms import Platform
from vllm.v1.kv_cache_interface import is_quantized_kv_cache

from eah_vllm.engine.config import enabled_methods
from eah_vllm.options import EngineDefaults
from eah_vllm.reuse.paged_prefix import PAGED_IMPLS
from eah_vllm.reuse.prefix_attention import PACKED_IMPLS

OUR_SCHEDULER = "eah_vllm.engine.scheduler.make_scheduler"


def _refuse(sentence: str) -> None:
    raise ValueError(f"EAH (eah_vllm) cannot run here: {sentence}, or switch EAH off with EAH_DISABLE=1.")


def refuse_unsupported(vllm_config: VllmConfig, settings: EngineDefaults) -> None:
    """Refuse features that cannot work with EAH, or of which nobody knows that they do.

    Raises:
        ValueError: naming the option.
    """
    parallel, cache, model = vllm_config.parallel_config, vllm_config.cache_config, vllm_config.model_config
    kv_transfer: Any = vllm_config.kv_transfer_config
    acting = _acting_on_rows(vllm_config)
    refusals = {
        "--decode-context-parallel-size spreads one head's keys over ranks; set it to 1": (
            parallel.decode_context_parallel_size not in (None, 1)
        ),
        "--prefill-context-parallel-size spreads a prompt's rows over ranks; set it to 1": (
            parallel.prefill_context_parallel_size > 1
        ),
        "--enable-dbo and --ubatch-size run a batch in parts; leave them unset": parallel.use_ubatching,
        "--scheduler-cls is taken, but EAH must isolate its prefix cache there; leave it unset": (
            vllm_config.scheduler_config.scheduler_cls not in (None, OUR_SCHEDULER)
        ),
        "cudagraph_mode FULL captures prompts too; use FULL_AND_PIECEWISE (the default)": (
            vllm_config.compilation_config.cudagraph_mode == CUDAGraphMode.FULL
        ),
        f"{acting} (eah.methods) acts on generated rows, and nobody knows whether that is right with the drafts of "
        "--speculative-config; leave one of them out": bool(acting) and vllm_config.speculative_config is not None,
        "speculative decoding on Model Runner V1 accepts no request check; use Model Runner V2 "
        "(VLLM_USE_V2_MODEL_RUNNER=1) or leave --speculative-config unset": (
            vllm_config.speculative_config is not None and not vllm_config.use_v2_model_runner
        ),
        "--return-sampling-mask accepts no request check; leave it off": model.return_sampling_mask,
        "the model's latent attention (MLA) keeps no separate heads; serve another --model": model.use_mla,
        # Some stores use only tokens as keys of blocks, so plain requests would load what EAH wrote; none runs on CPUs.
        "--kv-transfer-config and --kv-offloading-size move KV to stores that may not keep EAH's apart; "
        "leave them unset": (
            (kv_transfer is not None and kv_transfer.kv_connector is not None) or cache.kv_offloading_size is not None
        ),
        "VLLM_USE_RUST_FRONTEND replaces the server that checks requests; leave it unset": envs.VLLM_USE_RUST_FRONTEND,
        "--kv-sharing-fast-prefill leaves prompt rows out; leave it off": cache.kv_sharing_fast_prefill,
        f"eah.prefix_reuse cannot read --kv-cache-dtype {cache.cache_dtype}; leave one of them unset": (
            settings.prefix_reuse and is_quantized_kv_cache(cache.cache_dtype)
        ),
    }
    for sentence, refused in refusals.items():
        if refused:
            _refuse(sentence)


def _acting_on_rows(vllm_config: VllmConfig) -> str:
    """Return the names of the server's methods that act on generated rows."""
    return " and ".join(name for name, method in enabled_methods(vllm_config).items() if method.acts_on_rows)


def refuse_resolved(vllm_config: VllmConfig) -> None:
    """Refuse what vLLM decides only after our config hook has run; the worker, which sees the outcome, calls this.

    Raises:
        ValueError: naming the option.
    """
    mode = vllm_config.compilation_config.cudagraph_mode
    acting = _acting_on_rows(vllm_config)
    # Before a graph of Model Runner V1 is replayed, nothing tells us whose rows the step has.
    if acting and mode is not None and mode.has_full_cudagraphs() and not vllm_config.use_v2_model_runner:
        _refuse(
            f"{acting} (eah.methods) acts on generated rows; set cudagraph_mode to PIECEWISE "
            "in --compilation-config, or use Model Runner V2 (VLLM_USE_V2_MODEL_RUNNER=1)"
        )
    # Model Runner V2 asks `EAHModelStateMixin.get_additional_cg_support` instead, and captures only decode steps.
    if mode is not None and mode.mixed_mode() == CUDAGraphMode.FULL and not vllm_config.use_v2_model_runner:
        _refuse(
            "empty splitting_ops (or fuse_attn_quant, which empties them) in --compilation-config lead to CUDA "
            "graphs of prompts; set cudagraph_mode to FULL_DECODE_ONLY"
        )


def refuse_unreadable_cache(impl_name: str, kv_cache_dtype: str) -> None:
    """Refuse `prefix_reuse` where nobody knows how a layer's keys and values lie in the KV cache.

    Args:
        impl_name: name of the class of the layer's attention implementation.
        kv_cache_dtype: the layer's own, which the checkpoint may have set.

    Raises:
        ValueError: naming the implementation and the dtype.
    """
    readable = PACKED_IMPLS + PAGED_IMPLS
    if impl_name not in readable or is_quantized_kv_cache(kv_cache_dtype):
        raise ValueError(
            f"EAH (eah_vllm) cannot run here: prefix_reuse cannot read the KV cache of {impl_name} in dtype "
            f"{kv_cache_dtype}, only an unquantized one of {', '.join(readable)}; leave it off."
        )


def worker_class(configured: str, platform: Platform) -> str:
    """Return the name of our worker class for a platform.

    Raises:
        ValueError: another worker class is configured, or we do not know the platform's model runner.
    """
    if not (platform.is_cpu() or platform.is_cuda_alike()):
        _refuse(f"the model runner of platform {type(platform).__name__} is not known; use a CPU or a GPU")
    ours = "eah_vllm.engine.cpu_worker.EAHCPUWorker" if platform.is_cpu() else "eah_vllm.engine.gpu_worker.EAHGPUWorker"
    if configured not in ("auto", ours):
        _refuse(f"--worker-cls {configured} is not known; leave it unset")
    return ours
