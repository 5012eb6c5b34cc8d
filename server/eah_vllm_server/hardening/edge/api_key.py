"""ASGI middleware that makes `--api-key` cover every path; vLLM's own covers `/v1` and a few more.

vLLM leaves out, among others, `/invocations`, which generates text as `/v1` does, `/tokenize` and `/scale_elastic_ep`.
"""

import os
from argparse import Namespace
from collections.abc import Awaitable, Set
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

from eah_vllm_server.errors import error_response

# Probes and Prometheus carry no key. `/metrics` names the model and counts requests; keep it off public networks.
OPEN_PATHS = frozenset({"/health", "/ping", "/metrics", "/metrics/", "/version", "/load"})


def api_keys(args: Namespace) -> list[str]:
    """Return the keys that the server was started with, as vLLM reads them; an empty list when there are none."""
    return [key for key in (args.api_key or [os.environ.get("VLLM_API_KEY")]) if key]


class KeyForEveryPath(AuthenticationMiddleware):
    """Applies vLLM's check of the key to all paths but `OPEN_PATHS`.

    Args:
        app: the app behind it.
        tokens: the keys.
        open_paths: more paths that want no key.
    """

    def __init__(self, app: ASGIApp, tokens: list[str], open_paths: Set[str] = frozenset()) -> None:
        super().__init__(app, tokens)
        self._open_paths = OPEN_PATHS | open_paths

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or answer it with 401."""
        checked = scope["type"] in ("http", "websocket") and scope.get("method") != "OPTIONS"
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if checked and path not in self._open_paths and not self.verify_token(Headers(scope=scope)):
            answer = error_response(
                HTTPStatus.UNAUTHORIZED, "this path wants the server's API key (Authorization: Bearer KEY)"
            )
            return answer(scope, receive, send)
        return self.app(scope, receive, send)
