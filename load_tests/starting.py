"""Starts the server of a run that names none: `eah-vllm serve` or stock vLLM, with the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eah_vllm_server.__main__ import configs_dir

from eah_vllm.scenes import MODEL_PATH
from load_tests.scenario import Serve
from load_tests.target import Target
from tools.serving import API_KEY, Server

DEV_MODE = {"VLLM_SERVER_DEV_MODE": "1"}
"""Development mode has the routes that empty the caches."""
SMALL_BLOCKS = ("--block-size", "32")
"""A prompt of the built-in model has about 160 tokens, 144 of them image tokens. It would fill one of the blocks of 128
tokens that vLLM uses on CPUs by default; of these it fills several, so the prefix cache is used in more ways."""


@contextmanager
def started(serve: Serve) -> Iterator[Target]:
    """Start a server on a free port of this machine; it ends with the block."""
    builtin = (str(MODEL_PATH), "--config", str(configs_dir() / "scenes.yaml"))
    plain = serve.kind == "stock"
    env = DEV_MODE | dict(serve.env) | ({"VLLM_PLUGINS": ""} if plain else {})
    with Server([*builtin, *SMALL_BLOCKS, *serve.arguments], env=env, plain=plain) as server:
        yield Target(server.url, "scenes", API_KEY, server.pid)
