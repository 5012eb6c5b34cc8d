"""Servers shared by files of this folder; `tests/jobs.py` runs the files that share them in one job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lora import make_lora
from tools.serving import IN_ENGINE, SMALL, Server

ROOMY = ["--config", "scenes", "--max-model-len", "1024", "--enable-prompt-tokens-details", "--max-logprobs", "-1"]
"""The built-in model with room for a judge's prompts, and with all that an answer can say of its tokens."""
Running = Callable[..., list[Server]]
Key = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """Gives the servers with these arguments, started at once where they do not run yet, and ends all others."""
    servers: dict[Key, Server] = {}

    def give(*wanted: Sequence[str], env: Mapping[str, str] = IN_ENGINE) -> list[Server]:
        keys = [(tuple(arguments), tuple(env.items())) for arguments in wanted]
        with ThreadPoolExecutor() as pool:  # ends and starts are mostly waiting
            list(pool.map(Server.__exit__, [servers.pop(other) for other in servers.keys() - set(keys)]))
            starting = {key: pool.submit(Server, key[0], env=dict(key[1])) for key in keys if key not in servers}
        for key, start in starting.items():
            if start.exception() is None:
                servers[key] = start.result()
        return [servers[key] if key in servers else starting[key].result() for key in keys]

    yield give
    give()


@pytest.fixture(scope="module")
def tiny_server(unusual_checkpoint: Path, running: Running) -> Server:
    """A server of the tiny model, with its processes as vLLM has them on a CPU."""
    return running([str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL], env={})[0]


@pytest.fixture(scope="module")
def hardened_and_bare(unusual_checkpoint: Path, running: Running, lora: str) -> tuple[Server, Server]:
    """Two servers of the tiny model: with hardening and the playground, and without both.

    Both have an adapter named drawn, and may fetch pictures from a server of this machine.
    """
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL, "--enable-lora", "--max-loras", "2"]
    arguments += ["--max-lora-rank", "8", "--lora-modules", lora, "--allowed-media-domains", "localhost"]
    hardened = {"hardening": True, "private_networks": ["127.0.0.0/8"]}
    sections = [
        {"eah_http": hardened, "eah_playground": True},
        {"eah_http": {"hardening": False}, "eah_playground": False},
    ]
    first, second = running(*([*arguments, "--additional-config", json.dumps(section)] for section in sections))
    return first, second


@pytest.fixture(scope="session")
def lora(unusual_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name and folder of an adapter, as `--lora-modules` takes them."""
    folder = tmp_path_factory.mktemp("lora")
    make_lora(unusual_checkpoint, folder / "adapter", folder / "merged")
    return f"drawn={folder / 'adapter'}"
