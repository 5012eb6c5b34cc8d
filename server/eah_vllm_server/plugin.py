"""Entry point `vllm.endpoint_plugins`: attaches the routes to vLLM's own API server."""

import asyncio
import logging
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import State

from eah_vllm.contract.check import check_at_start
from eah_vllm_server.metrics import metrics
from eah_vllm_server.vllm_names import NAMES

if TYPE_CHECKING:
    from vllm.engine.protocol import EngineClient

logger = logging.getLogger("vllm.eah")
ANTHROPIC_ERRORS = "eah_vllm_server.anthropic_errors.AnthropicErrors"


class EAHEndpointPlugin:
    """Implements vLLM's `EndpointPlugin` protocol."""

    name = "eah"
    required_tasks: tuple[Any, ...] | None = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Register the routes; a route with the path of one of vLLM's replaces it."""
        # If importing a plugin fails, vLLM only logs that and serves without it, so this file imports no vLLM above.
        check_at_start(NAMES)
        from eah_vllm_server import other_routes, routes
        from eah_vllm_server.gate import Gate, GateMiddleware
        from eah_vllm_server.hardening.edge.slow_clients import SlowClientsMiddleware
        from eah_vllm_server.hardening.limits import read_limits
        from eah_vllm_server.hardening.media.connector import keep_media
        from eah_vllm_server.hardening.protect import protect
        from eah_vllm_server.inspect import route as inspector
        from eah_vllm_server.playground import routes as playground

        app.include_router(routes.router)
        app.include_router(other_routes.router)
        app.include_router(inspector.router)
        args: Namespace = app.state.args
        open_paths: frozenset[str] = frozenset()
        if playground.is_served(args.additional_config):
            app.include_router(playground.router())
            open_paths = playground.open_paths()
        limits = app.state.http_limits = read_limits(args)
        app.state.gate = Gate()
        # The middleware that is added last sees a request first, so a client without a key takes no place in the queue.
        if limits.hardening:
            app.add_middleware(SlowClientsMiddleware)
        app.add_middleware(GateMiddleware, gate=app.state.gate)
        if limits.hardening:
            protect(app, limits, open_paths)
        else:
            logger.warning("EAH: eah_http.hardening is false: clients are limited as by vLLM alone.")
        # What `--middleware` names is the one thing that sees an answer after vLLM's own check of the key.
        args.middleware = [*args.middleware, ANTHROPIC_ERRORS]
        keep_media()

    async def init_state(self, engine_client: "EngineClient | None", state: State, args: Namespace) -> None:
        """Prepare what the routes need of the engine; vLLM calls this once the engine is up."""
        from vllm.v1.engine.async_llm import AsyncLLM

        from eah_vllm.engine.config import engine_facts, identity
        from eah_vllm_server.collector import ReportCollector
        from eah_vllm_server.drain import DrainingClient
        from eah_vllm_server.gate import request_limit
        from eah_vllm_server.hardening.media.checked_renderer import check_messages_of_all_routes
        from eah_vllm_server.processor_cache import send_pictures_each_time
        from eah_vllm_server.state import EAHState, served_model
        from eah_vllm_server.verify.ask import Engine
        from eah_vllm_server.verify.metrics import verify_metrics
        from eah_vllm_server.verify.options import server_defaults
        from eah_vllm_server.verify.prepare import Verifier

        if not isinstance(engine_client, AsyncLLM):
            raise RuntimeError("eah: the endpoint plugin needs vLLM's AsyncLLM engine")
        vllm_config = engine_client.vllm_config
        send_pictures_each_time(engine_client.renderer)
        check_messages_of_all_routes(
            state.online_renderer, parts=state.http_limits.hardening, embeddings=args.enable_mm_embeds
        )
        collector = ReportCollector(engine_client, metrics())
        state.eah = EAHState(
            model=served_model(vllm_config, state.openai_serving_models),
            collector=collector,
            engine=engine_facts(vllm_config),
            verifier=Verifier(
                engine=Engine(engine_client, state.online_renderer),
                models=state.openai_serving_models,
                gate=state.gate,
                defaults=server_defaults(args.additional_config, vllm_config.model_config.model),
            ),
            runner="V2" if vllm_config.use_v2_model_runner else "V1",
        )
        verify_metrics()  # so that `/metrics` shows the histogram before the first check
        if state.eah.model.refusal is None:
            await collector.check_identity(identity(vllm_config))
            state.eah.counting = asyncio.create_task(collector.keep_counting())
        state.gate.engine_limit = vllm_config.scheduler_config.max_num_queued_reqs
        if state.http_limits.hardening:  # otherwise only vLLM's own --max-num-queued-reqs holds, by default no limit
            state.gate.limit = request_limit(vllm_config.scheduler_config)
        state.engine_client = DrainingClient(engine_client, state.gate, state)
