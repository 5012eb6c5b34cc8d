"""A real `vllm.LLM` in a process of its own, driven over a local socket: one process per engine configuration.

An engine needs its own environment (stock vLLM must not have the plugin loaded; Model Runner V2 lives in another
virtual environment), so tests never start one in pytest's process.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Ask:
    """One request."""

    prompt: str
    images: list[Image.Image] = field(default_factory=list)
    eah: dict[str, Any] | None = None
    """`extra_args` as a caller writes them, without the `eah_` prefix; None: EAH off."""
    max_tokens: int = 12
    n: int = 1
    temperature: float = 0.0

    def extra_args(self) -> dict[str, Any] | None:
        return None if self.eah is None else {"eah": 1} | {f"eah_{name}": value for name, value in self.eah.items()}


@dataclass(slots=True)
class Answer:
    """What came back: tokens of each choice, log-probabilities of every token at the first position, cached tokens."""

    tokens: list[list[int]]
    first_logprobs: dict[int, float]
    cached_tokens: int
    prompt_token_ids: list[int]


class Engine:
    """A handle on the process; use as a context manager."""

    def __init__(
        self, model: Path, *, python: str = sys.executable, env: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        address, key = f"{self._folder.name}/engine", secrets.token_hex()
        self._log = Path(self._folder.name, "log")
        environment = (
            os.environ | {"ENGINE_KEY": key, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict(env or {})
        )
        with Listener(address, authkey=key.encode()) as listener, self._log.open("wb") as log:
            # Not `-m`: the classes below must have one name on both sides of the socket.
            command = [python, "-c", f"from tests.engine.driver import serve; serve({address!r})"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            self._connection: Connection = listener.accept()
        self._call("start", str(model), options)

    def generate(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in order; all requests are in flight together."""
        answers: list[Answer] = self._call("generate", list(asks))
        return answers

    def one(self, prompt: str, images: list[Image.Image], eah: dict[str, Any] | None = None, **more: Any) -> Answer:
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

    def _call(self, name: str, *arguments: Any) -> Any:
        self._connection.send((name, arguments))
        try:
            kind, value = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"the engine process ended:\n{self.log()[-6000:]}") from None
        if kind == "error":
            raise RuntimeError(f"{value}\n{self.log()[-20000:]}" if "EngineDead" in value else value)
        return value

    def log(self) -> str:
        """Everything the engine printed."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()  # the driver's loop ends and shuts its engine down
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._folder.cleanup()


class _Driver:
    def start(self, model: str, options: dict[str, Any]) -> None:
        from vllm import LLM

        defaults: dict[str, Any] = {
            "dtype": "float32",
            "max_model_len": 512,
            "max_num_seqs": 8,
            "enforce_eager": True,
            "kv_cache_memory_bytes": 64 << 20,
            "block_size": 32,
            "max_logprobs": -1,
            "disable_log_stats": False,
            "limit_mm_per_prompt": {"image": 4},
        }
        self.llm = LLM(model, **(defaults | options))

    def generate(self, asks: list[Ask]) -> list[Answer]:
        outputs = self.llm.generate([_prompt(ask) for ask in asks], [_params(ask) for ask in asks], use_tqdm=False)
        return [
            Answer(
                tokens=[list(choice.token_ids) for choice in output.outputs],
                first_logprobs={idx: entry.logprob for idx, entry in (output.outputs[0].logprobs or [{}])[0].items()},
                cached_tokens=output.num_cached_tokens or 0,
                prompt_token_ids=list(output.prompt_token_ids or ()),
            )
            for output in outputs
        ]

    def collect(self, tags: list[str]) -> dict[str, Any]:
        parts: list[dict[str, Any]] = self.llm.collective_rpc("eah_collect", args=(tags,))
        return parts[0]

    def metric(self, name: str) -> float:
        return float(sum(metric.value for metric in self.llm.get_metrics() if metric.name == name))

    def abort_after(self, asks: list[Ask], steps: int, num_aborted: int) -> int:
        engine = self.llm.llm_engine
        for idx, ask in enumerate(asks):
            engine.add_request(f"abort-{idx}", _prompt(ask), _params(ask))
        finished = 0
        for step in range(1000):
            finished += sum(output.finished for output in engine.step())
            if step == steps:
                engine.abort_request([f"abort-{idx}" for idx in range(num_aborted)])
            if not engine.has_unfinished_requests():
                break
        return finished


def _prompt(ask: Ask) -> Any:
    return {"prompt": ask.prompt} | ({"multi_modal_data": {"image": ask.images}} if ask.images else {})


def _params(ask: Ask) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        temperature=ask.temperature,
        seed=0,
        max_tokens=ask.max_tokens,
        ignore_eos=True,
        n=ask.n,
        logprobs=-1,
        extra_args=ask.extra_args(),
    )


def serve(address: str) -> None:
    driver = _Driver()
    with Client(address, authkey=os.environ["ENGINE_KEY"].encode()) as connection:
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:
                return
            try:
                connection.send(("value", getattr(driver, name)(*arguments)))
            except Exception as error:  # noqa: BLE001 - handed to the test, which decides what it means
                connection.send(("error", f"{type(error).__name__}: {error}"))
