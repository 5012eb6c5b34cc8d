"""Ray Serve LLM with EAH: `serve run deploy.ray.serve_llm:app`, on a Ray cluster whose every node has this package.

Ray Serve LLM has an API server of its own, which knows neither the field `eah` nor the alias: clients ask with
`"vllm_xargs": {"eah": 1}`, which reach the engine unchanged. There the package acts by itself, vLLM's general plugin.
"""

from ray.serve.llm import LLMConfig, build_openai_app

config = LLMConfig(
    model_loading_config={"model_id": "llava-1.5-7b", "model_source": "llava-hf/llava-1.5-7b-hf"},
    # No EAH_* variable here: Ray copies only some to its workers. These settings travel with vLLM's configuration.
    engine_kwargs={"max_model_len": 4096, "additional_config": {"eah": {"layer": 1, "threshold": 0.002}}},
    deployment_config={"autoscaling_config": {"min_replicas": 2, "max_replicas": 16, "target_ongoing_requests": 32}},
    accelerator_type="L40S",
)
app = build_openai_app({"llm_configs": [config]})
