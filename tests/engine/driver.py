"""A real `vllm.LLM` in a process of its own, driven over a local socket: one process per engine configuration.

An engine needs its own environment (stock vLLM must not have the plugin loaded; Model Runner V2 lives in another
virtual environment), so tests never start one in pytest's process.
"""

from __future__ import annotations

import copy
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Engine, worker and caller together, where the configuration allows it: a start is mostly three times importing vLLM.
`test_matches_reference.py` has an engine as vLLM starts it by default, and so have all servers."""


@dataclass(slots=True)
class Ask:
    """One request."""

    prompt: str | list[int] | np.ndarray
    """Text, token IDs with one image token per picture, or embeddings `[tokens, hidden]`."""
    images: list[Image.Image] | np.ndarray = field(default_factory=list)
    """Pictures, or their embeddings `[images, image tokens, hidden]`."""
    eah: dict[str, Any] | None = None
    """`extra_args` as a caller writes them, without the `eah_` prefix; None: EAH off."""
    max_tokens: int = 12
    n: int = 1
    temperature: float = 0.0
    lora: Path | None = None
    """Folder of a LoRA adapter."""
    structured: dict[str, Any] | None = None
    """Fields of `StructuredOutputsParams`; generation then ends where the grammar ends."""
    prompt_logprobs: bool = False
    videos: list[np.ndarray] = field(default_factory=list)
    """Frames, `[frames, height, width, 3]`, of each video."""
    uuids: list[str] | None = None
    """Names of the pictures, in place of hashes of their content."""
    method: str = "eah"
    """The method whose options `eah` holds."""
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of further methods of the same request, by method."""

    def extra_args(self) -> dict[str, Any] | None:
        methods = dict(self.also) if self.eah is None else {self.method: self.eah, **self.also}
        flat: dict[str, Any] = {}
        for method, options in methods.items():
            flat |= {method: 1} | {f"{method}_{name}": value for name, value in options.items()}
        return flat or None


@dataclass(slots=True)
class Answer:
    """What came back: tokens of each choice, log-probabilities of every token at the first position, cached tokens."""

    tokens: list[list[int]]
    first_logprobs: dict[int, float]
    cached_tokens: int
    prompt_token_ids: list[int]
    texts: list[str]
    logprobs: list[dict[int, float]]
    """Of every token at every position of the first choice."""
    prompt_logprobs: list[dict[int, float]]
    """Of every token at every prompt position but the first."""


class Engine:
    """A handle on the process; use as a context manager."""

    def __init__(
        self, model: Path, *, python: str = sys.executable, env: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        address, key = f"{self._folder.name}/engine", secrets.token_hex()
        self._log = Path(self._folder.name, "log")
        environment = os.environ | ONE_PROCESS | {"ENGINE_KEY": key, "PYTHONPATH": str(ROOT)} | dict(env or {})
        with Listener(address, authkey=key.encode()) as listener, self._log.open("wb") as log:
            command = [python, "-c", f"from tests.engine.driven import serve; serve({address!r})"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            self._connection: Connection = listener.accept()
        self._replaced = False
        try:
            self._call("start", str(model), options)
        except RuntimeError:
            self.__exit__()
            raise

    def replaced(self, model: Path, **options: Any) -> Engine:
        """Return another engine in the same process, in the place of this one, which ends."""
        other = copy.copy(self)
        self._replaced, other._replaced = True, False
        other._call("start", str(model), options)
        return other

    def generate(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in order; all requests are in flight together."""
        answers: list[Answer] = self._call("generate", list(asks))
        return answers

    def one(
        self,
        prompt: str | list[int] | np.ndarray,
        images: list[Image.Image] | np.ndarray,
        eah: dict[str, Any] | None = None,
        **more: Any,
    ) -> Answer:
        """One request, alone in the engine."""
        return self.generate([Ask(prompt, images, eah, **more)])[0]

    def collect(self, *tags: str) -> dict[str, Any]:
        """What our worker RPC returns."""
        collected: dict[str, Any] = self._call("collect", list(tags))
        return collected

    def metric(self, name: str) -> float:
        """A vLLM metric."""
        value: float = self._call("metric", name)
        return value

    def abort_after(self, asks: Sequence[Ask], steps: int, num_aborted: int) -> int:
        """Start all, abort the first few after some steps, finish the others; how many were finished."""
        finished: int = self._call("abort_after", list(asks), steps, num_aborted)
        return finished

    def beam_search(self, ask: Ask, width: int) -> list[list[int]]:
        """The tokens of each beam, prompt included, best first; vLLM's beam search takes no `extra_args`."""
        beams: list[list[int]] = self._call("beam_search", ask, width)
        return beams

    def sleep(self) -> None:
        """Sleep at level 1."""
        self._call("sleep")

    def wake_up(self) -> None:
        """Wake up."""
        self._call("wake_up")

    def reset_prefix_cache(self) -> None:
        """Forget all cached prompts."""
        assert self._call("reset_prefix_cache")

    def _call(self, name: str, *arguments: Any) -> Any:
        assert not self._replaced, "another engine has taken this one's place"
        self._connection.send((name, arguments))
        try:
            kind, value = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"the engine process ended:\n{self.log()[-6000:]}") from None
        if kind == "error":
            dead = "EngineDead" in value or "Engine core" in value
            raise RuntimeError(f"{value}\n{self.log()[-20000:]}" if dead else value)
        return value

    def log(self) -> str:
        """Everything the engine printed."""
        return self._log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()  # the driver's loop ends and shuts its engine down
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._folder.cleanup()


class Spare:
    """A process that serves one configuration after the other, since importing vLLM takes most of an engine's start.

    Whoever asks for an engine ends the one before it.
    """

    def __init__(self, **process: Any) -> None:
        self._process = process
        self._engine: Engine | None = None

    def serving(self, model: Path, **options: Any) -> Engine:
        """Return an engine with these options and with nothing left of those before it."""
        if self._engine is not None and self._engine.alive:
            self._engine = self._engine.replaced(model, **options)
        else:
            self.close()
            self._engine = Engine(model, **self._process, **options)
        return self._engine

    def close(self) -> None:
        """End the process."""
        if self._engine is not None:
            self._engine.__exit__()
            self._engine = None
