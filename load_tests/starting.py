"""Starts the servers that a run does not bring itself: `eah-vllm serve` or stock vLLM, with the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eah_vllm_server.__main__ import configs_dir

from eah_vllm.scenes import MODEL_PATH
from load_tests.scenario import Serve
from load_tests.target import Target
from tools.serving import API_KEY, Server

DEV_MODE = {"VLLM_SERVER_DEV_MODE": "1"}
"""For the routes that empty the caches."""
SMALL_BLOCKS = ("--block-size", "32")
"""A prompt of the built-in model has 78 tokens: it fills none of the blocks of 128 that vLLM has on CPUs, and the
prefix cache would never be used."""


@contextmanager
def started(serve: Serve) -> Iterator[Target]:
    """A server on a free port of this machine until the block ends."""
    builtin = (str(MODEL_PATH), "--config", str(configs_dir() / "scenes.yaml"))
    plain = serve.kind == "stock"
    env = DEV_MODE | dict(serve.env) | ({"VLLM_PLUGINS": ""} if plain else {})
    with Server([*builtin, *SMALL_BLOCKS, *serve.arguments], env=env, plain=plain) as server:
        yield Target(server.url, "scenes", API_KEY, server.pid)
