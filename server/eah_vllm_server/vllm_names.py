"""Every name of vLLM that the HTTP layer uses; `python -m eah_vllm_server.vllm_names` checks the installed vLLM."""

from eah_vllm.contract.check import main
from eah_vllm.contract.name import Name
from eah_vllm_server.vllm_names_hardening import EDGE, PARTS

CHAT = "vllm.entrypoints.openai.chat_completion"
COMPLETION = "vllm.entrypoints.openai.completion"
RESPONSES = "vllm.entrypoints.openai.responses"

# fmt: off
PLUGIN = (  # plugin.py, state.py, collector.py, capabilities.py
    Name("vllm.plugins", "ENDPOINT_PLUGINS_GROUP", "our entry point", equals="vllm.endpoint_plugins"),
    Name("vllm.plugins.endpoint_plugins.interface", "EndpointPlugin", "our plugin", fields="name required_tasks"),
    Name("vllm.plugins.endpoint_plugins.interface", "EndpointPlugin.attach_router", "our plugin", overrides="app"),
    Name("vllm.plugins.endpoint_plugins.interface", "EndpointPlugin.init_state", "our plugin",
         overrides="engine_client, state, args", awaited=True),
    Name("vllm.plugins.endpoint_plugins.interface", "attach_endpoint_plugins", "our routes replace vLLM's",
         reads="attach_router path methods routes", silent=True),
    Name("vllm.plugins.endpoint_plugins.interface", "init_endpoint_plugins_state", "calls our plugin",
         reads="init_state"),
    Name("vllm.entrypoints.launchers.app", "build_app", "calls our plugin", reads="attach_endpoint_plugins",
         silent=True),
    Name("vllm.entrypoints.serve.middleware.register", "init_entrypoints_middleware", "the form of errors",
         code="for middleware in args.middleware"),
    Name("vllm.entrypoints.launchers.api_server.app_state", "init_app_state", "calls our plugin, the aliases",
         reads="init_endpoint_plugins_state openai_serving_models"),
    Name("vllm.engine.protocol", "EngineClient", "what the server can do", fields="vllm_config"),
    Name("vllm.v1.engine.async_llm", "AsyncLLM", "reports and counts", fields="vllm_config engine_core"),
    Name("vllm.v1.engine.core_client", "AsyncMPClient.call_utility_all_async", "reports and counts",
         calls="method, *args", awaited=True),
    Name("vllm.v1.engine.core", "EngineCore.collective_rpc", "reports and counts",
         calls="method, timeout, args, kwargs"),
    Name("vllm.config", "VllmConfig", "what the server can do", fields="model_config use_v2_model_runner"),
    Name("vllm.config", "ModelConfig", "what the server can do", fields="architecture"),
    Name("vllm.entrypoints.openai.models.serving", "OpenAIServingModels", "the aliases",
         fields="base_model_paths lora_requests"),
    Name("vllm.entrypoints.openai.models.serving", "OpenAIServingModels.show_available_models", "the aliases",
         calls="", awaited=True),
    Name("vllm.entrypoints.openai.models.protocol", "BaseModelPath", "the aliases", fields="name"),
    Name("vllm.entrypoints.serve.engine.protocol", "ModelList", "the aliases", fields="data"),
    Name("vllm.entrypoints.serve.engine.protocol", "ModelCard", "the aliases", fields="id"),
    Name("vllm", "__version__", "says which vLLM this is"),
)

ROUTES = (  # routes.py, other_routes.py, schemas.py, engine_request.py, reply.py
    Name(CHAT + ".api_router", "create_chat_completion", "the route we extend", calls="request, raw_request",
         awaited=True),
    Name(COMPLETION + ".api_router", "create_completion", "the route we extend", calls="request, raw_request",
         awaited=True),
    Name(RESPONSES + ".api_router", "create_responses", "the route we extend", calls="request, raw_request",
         awaited=True),
    Name(CHAT + ".api_router", "", "the route we extend", reads="/v1/chat/completions /v1/chat/completions/batch"),
    Name(COMPLETION + ".api_router", "", "the route we extend", reads="/v1/completions"),
    Name(RESPONSES + ".api_router", "retrieve_responses", "the route we extend",
         calls="response_id, raw_request, starting_after, stream", awaited=True),
    Name(RESPONSES + ".api_router", "", "the route we extend", reads="/v1/responses /v1/responses/{response_id}"),
    Name(RESPONSES + ".serving", "OpenAIServingResponses", "reports of the background",
         fields="background_tasks"),
    Name(RESPONSES + ".serving", "OpenAIServingResponses._create_responses", "reports of the background",
         code="self.background_tasks[response_id] = task"),
    Name(RESPONSES + ".serving", "OpenAIServingResponses.retrieve_responses", "reports of the background",
         calls="response_id, starting_after=, stream=", awaited=True),
    Name(RESPONSES + ".protocol", "ResponsesResponse", "reports of the background", fields="status"),
    Name(RESPONSES + ".protocol", "ResponsesResponse.from_request", "reports of the background",
         reads="request_id incomplete_details"),
    Name("vllm.entrypoints.generate.api_router", "", "reports of the background", reads="openai_serving_responses"),
    Name("vllm.entrypoints.serve.engine.serving", "BaseServing._check_model", "the 404 that lists aliases",
         reads="NotFoundError param model"),
    Name(RESPONSES + ".serving", "", "the last chunk of a stream", reads="response.completed"),
    Name(CHAT + ".protocol", "ChatCompletionRequest", "the field eah", fields="model vllm_xargs"),
    Name(COMPLETION + ".protocol", "CompletionRequest", "the field eah", fields="model vllm_xargs"),
    Name(CHAT + ".protocol", "ChatCompletionRequest.use_beam_search", "beam search refuses eah", silent=True),
    Name(COMPLETION + ".protocol", "CompletionRequest.use_beam_search", "beam search refuses eah", silent=True),
    Name(RESPONSES + ".protocol", "ResponsesRequest", "the field eah",
         fields="model vllm_xargs background request_id"),
    Name(CHAT + ".protocol", "ChatCompletionRequest.to_sampling_params", "how options reach the engine",
         reads="vllm_xargs extra_args", silent=True),
    Name(COMPLETION + ".protocol", "CompletionRequest.to_sampling_params", "how options reach the engine",
         reads="vllm_xargs extra_args", silent=True),
    Name(RESPONSES + ".protocol", "ResponsesRequest.to_sampling_params", "how options reach the engine",
         reads="vllm_xargs extra_args", silent=True),
    Name(CHAT + ".api_router", "create_batch_chat_completion", "a route that refuses eah",
         calls="request, raw_request", awaited=True),
    Name(CHAT + ".protocol", "BatchChatCompletionRequest", "a route that refuses eah"),
    Name("vllm.entrypoints.anthropic.api_router", "create_messages", "the route we extend",
         calls="request, raw_request", awaited=True),
    Name("vllm.entrypoints.anthropic.api_router", "", "the route we extend", reads="/v1/messages"),
    Name("vllm.entrypoints.anthropic.protocol", "AnthropicMessagesRequest", "the field eah", fields="model vllm_xargs"),
    Name("vllm.entrypoints.anthropic.protocol", "AnthropicErrorResponse", "the form of errors", fields="type error"),
    Name("vllm.entrypoints.anthropic.protocol", "AnthropicError", "the form of errors", fields="type message"),
    Name("vllm.entrypoints.anthropic.serving", "AnthropicServingMessages._build_base_request",
         "how options reach the engine", code="vllm_xargs=", silent=True),
    Name("vllm.entrypoints.anthropic.serving", "AnthropicServingMessages.message_stream_converter",
         "the last event of a stream", reads="message_delta"),
    Name("vllm.entrypoints.serve.utils.api_utils", "validate_json_request", "bodies must be JSON", calls="raw_request",
         awaited=True),
    Name("vllm.exceptions", "VLLMValidationError", "answers of 400", calls="message, parameter="),
    Name("vllm.exceptions", "VLLMValidationError.__init__", "answers of 400", reads="parameter"),
)

COMMAND = (  # __main__.py
    Name("vllm.plugins", "PLATFORM_PLUGINS_GROUP", "the allow-list", equals="vllm.platform_plugins"),
    Name("vllm.plugins", "IO_PROCESSOR_PLUGINS_GROUP", "the allow-list", equals="vllm.io_processor_plugins"),
    Name("vllm.plugins", "STAT_LOGGER_PLUGINS_GROUP", "the allow-list", equals="vllm.stat_logger_plugins"),
    Name("vllm.plugins", "load_endpoint_plugins", "the allow-list", reads="VLLM_PLUGINS", silent=True),
    Name("vllm.envs", "", "the allow-list, memory on a CPU", reads="VLLM_PLUGINS VLLM_CPU_KVCACHE_SPACE"),
    Name("vllm.config", "CacheConfig", "memory on a CPU", fields="gpu_memory_utilization kv_cache_memory_bytes"),
    Name("vllm.engine.arg_utils", "EngineArgs", "memory on a CPU",
         fields="gpu_memory_utilization kv_cache_memory_bytes"),
    Name("vllm.platforms", "current_platform", "memory on a CPU"),
    Name("vllm.platforms.interface", "Platform.is_cpu", "memory on a CPU", calls=""),
    Name("vllm.entrypoints.cli.serve", "ServeSubcommand", "eah-vllm serve"),
    Name("vllm.entrypoints.cli.serve", "ServeSubcommand.subparser_init", "eah-vllm serve", calls="subparsers"),
    Name("vllm.entrypoints.cli.serve", "ServeSubcommand.validate", "eah-vllm serve", calls="args"),
    Name("vllm.entrypoints.cli.serve", "ServeSubcommand.cmd", "eah-vllm serve; --grpc is refused", calls="args",
         reads="grpc"),
    Name("vllm.utils.argparse_utils", "FlexibleArgumentParser", "eah-vllm serve"),
    Name("vllm.utils.argparse_utils", "FlexibleArgumentParser.parse_args", "which model is named", calls="args",
         reads="--config model_tag"),
)

OPERATIONS = (  # gate.py, drain.py, __main__.py
    Name("vllm.config", "SchedulerConfig", "the queue limit", fields="max_num_queued_reqs max_num_seqs"),
    Name("vllm.config", "VllmConfig", "the queue limit", fields="scheduler_config shutdown_timeout"),
    Name("vllm.v1.engine.async_llm", "AsyncLLM", "requests end with their engine", fields="errored dead_error"),
    Name("vllm.v1.engine.async_llm", "AsyncLLM.shutdown", "drain", calls="timeout="),
    Name("vllm.entrypoints.launchers.launcher", "serve_http", "drain", code="engine_client = app.state.engine_client"),
    Name("vllm.entrypoints.launchers.launcher", "serve_http", "drain",
         code="await loop.run_in_executor(None, partial(engine_client.shutdown, timeout=timeout))"),
    Name("vllm.entrypoints.launchers.launcher", "serve_http", "how long uvicorn waits for connections",
         code="app.state.server = server"),
    Name("vllm.entrypoints.launchers.api_server.app_state", "init_app_state", "drain",
         code="state.engine_client = engine_client"),
    Name("vllm.engine.arg_utils", "EngineArgs", "drain", fields="shutdown_timeout"),
)
# fmt: on

NAMES = PLUGIN + ROUTES + COMMAND + EDGE + PARTS + OPERATIONS

if __name__ == "__main__":
    main(NAMES)
