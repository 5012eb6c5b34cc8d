"""Puts all protection from clients around vLLM's app; called when our routes are attached."""

from collections.abc import Set

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from eah_vllm_server.errors import http_error
from eah_vllm_server.hardening.edge.answer_headers import AnswerHeaders
from eah_vllm_server.hardening.edge.api_key import KeyForEveryPath, api_keys
from eah_vllm_server.hardening.edge.body_limit import BodyLimit
from eah_vllm_server.hardening.limits import HTTPLimits
from eah_vllm_server.hardening.media.connector import install_media_connector
from eah_vllm_server.hardening.media.pixel_budget import BudgetPerRequest

# These pages are removed: they load scripts from other hosts or hold some. /openapi.json describes the same API.
DOC_PAGES = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})


def protect(app: FastAPI, limits: HTTPLimits, open_paths: Set[str] = frozenset()) -> None:
    """Install the rules for media and the middleware, with these limits; `open_paths` want no API key."""
    install_media_connector(limits)
    app.router.routes[:] = [route for route in app.routes if getattr(route, "path", None) not in DOC_PAGES]
    app.add_exception_handler(HTTPException, http_error)
    # The middleware that is added last sees a request first; vLLM's own sees it before all of these.
    app.add_middleware(BudgetPerRequest, limits=limits)
    app.add_middleware(BodyLimit, max_bytes=limits.body_bytes, max_items=limits.body_items)
    if keys := api_keys(app.state.args):
        app.add_middleware(KeyForEveryPath, tokens=keys, open_paths=open_paths)
    app.add_middleware(AnswerHeaders)
