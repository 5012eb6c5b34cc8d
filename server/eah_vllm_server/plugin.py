"""Entry point `vllm.endpoint_plugins`: attaches the routes to vLLM's own API server."""

import asyncio
from argparse import Namespace
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import State
from vllm.engine.protocol import EngineClient

from eah_vllm_server.collector import ReportCollector
from eah_vllm_server.metrics import metrics
from eah_vllm_server.state import EAHState, served_model


class EAHEndpointPlugin:
    """vLLM's `EndpointPlugin` protocol."""

    name = "eah"
    required_tasks: tuple[Any, ...] | None = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Register the routes; those of a core path replace the core route."""
        from eah_vllm_server import other_routes, routes

        app.include_router(routes.router)
        app.include_router(other_routes.router)

    async def init_state(self, engine_client: EngineClient | None, state: State, args: Namespace) -> None:
        """Called once the engine is up."""
        if engine_client is None:
            raise RuntimeError("eah: the endpoint plugin needs an engine")
        vllm_config = engine_client.vllm_config
        names = tuple(base.name for base in state.openai_serving_models.base_model_paths)
        collector = ReportCollector(engine_client, metrics())
        state.eah = EAHState(
            model=served_model(vllm_config, names),
            collector=collector,
            runner="V2" if vllm_config.use_v2_model_runner else "V1",
        )
        if state.eah.model.refusal is None:
            state.eah.counting = asyncio.create_task(collector.keep_counting())
