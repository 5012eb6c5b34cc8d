"""Two engines behind two API processes: the alias, reports and metrics are the same whoever answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.checkpoints import random_image
from tests.reference import reference_generate
from tools.serving import API_KEY, SMALL, Server, free_port, image_message

EAH = {"layer": 1, "relative_threshold": 1.5}
NUM_CLIENTS = 16
SECONDS_UNTIL_BOTH = 300
CHAT_PROMPT = "USER: <image>\nPlease describe this image in detail. ASSISTANT:"


class Client:
    """An `openai` client of one connection, and the API process at its other end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = httpx.Client(limits=httpx.Limits(max_connections=1, keepalive_expiry=None), timeout=60)
        self._openai = openai.OpenAI(
            base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0, http_client=self._http
        )
        self.models = [model.id for model in self._openai.models.list()]
        self.process = self._process()

    def _get(self, path: str) -> httpx.Response:
        return self._http.get(self._server.url + path, headers={"Authorization": f"Bearer {API_KEY}"})

    def _process(self) -> int:
        port = self._get("/health").extensions["network_stream"].get_extra_info("client_addr")[1]
        for process in psutil.Process(self._server.pid).children(recursive=True):
            if any(connection.raddr and connection.raddr.port == port for connection in process.net_connections()):
                return process.pid
        raise LookupError(f"no process serves the connection from port {port}")

    def chat(self, seed: int, eah: Any = None, *, model: str = "tiny", **more: Any) -> Any:
        body = {"ignore_eos": True, "return_token_ids": True} | ({} if eah is None else {"eah": eah})
        asked: dict[str, Any] = {"temperature": 0, "max_tokens": 8} | more
        messages = image_message(random_image(seed))
        return self._openai.chat.completions.create(model=model, messages=messages, extra_body=body, **asked)

    def eah_metrics(self) -> dict[str, float]:
        """Our counters, as this process shows them."""
        lines = self._get("/metrics").text.splitlines()
        ours = (line.rpartition(" ") for line in lines if line.startswith("eah_"))
        return {name: float(value) for name, _, value in ours}

    def close(self) -> None:
        self._openai.close()


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    arguments = ["--data-parallel-size", "2", "--api-server-count", "2"]
    # A connection that is idle stays open, so that a client keeps its API process.
    environment = {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with Server(
        [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL, *arguments], env=environment
    ) as server:
        yield server


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[list[Client]]:
    """Spread over both API processes: whichever is free takes a connection; one may be ready late."""
    clients = [Client(server) for _ in range(NUM_CLIENTS)]
    deadline = time.monotonic() + SECONDS_UNTIL_BOTH
    while len({client.process for client in clients}) == 1 and time.monotonic() < deadline:
        clients.pop(0).close()
        time.sleep(1)
        clients.append(Client(server))
    assert len({client.process for client in clients}) == 2, "all connections went to one API process"
    yield clients
    for client in clients:
        client.close()


def all_at_once(clients: list[Client], ask: Callable[[int, Client], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(ask, range(len(clients)), clients))


def finished(server: Server, engine: str) -> float:
    labels = {"engine": engine, "model_name": "tiny"}
    return server.counter("vllm:request_success_total", finished_reason="length", **labels)


def test_reports_come_from_the_engine_that_ran_the_request(
    server: Server, clients: list[Client], unusual_checkpoint: Path
) -> None:
    before = [finished(server, engine) for engine in ("0", "1")]
    applied = server.counter("eah_requests_total", outcome="applied")
    answers = all_at_once(clients, lambda idx, client: client.chat(idx, EAH | {"report": True}))
    heads = set()
    for idx, answer in enumerate(answers):
        expected = reference_generate(unusual_checkpoint, CHAT_PROMPT, [random_image(idx)], EAH, max_tokens=8)
        assert list(answer.choices[0].token_ids) == expected.tokens
        assert answer.eah["applied"]
        assert answer.eah["layers"] == [layer.as_report() for layer in expected.report]
        heads.add(expected.report[0].head)
    assert len(heads) > 1, "all source heads are the same; the reports would fit any request"
    after = [finished(server, engine) for engine in ("0", "1")]
    assert min(new - old for new, old in zip(after, before, strict=True)) > 0, f"only one engine was used: {after}"
    assert server.counter("eah_requests_total", outcome="applied") == applied + NUM_CLIENTS


def test_the_alias_on_every_api_process(clients: list[Client]) -> None:
    off, on = (clients[0].chat(2, eah).choices[0].token_ids for eah in (False, True))
    assert off != on, "EAH had no effect here"
    one_each = {client.process: client for client in clients}.values()
    for client in one_each:
        assert client.models == ["tiny", "tiny:eah", "tiny:verify", "tiny:eah+verify"]
        assert client.chat(2, model="tiny:eah").choices[0].token_ids == on
        assert client.chat(2).choices[0].token_ids == off


def test_counts_agree_whoever_fetched_them(server: Server, clients: list[Client]) -> None:
    """Nobody asks for a report here: each API process fetches counts on its own, and may get the other one's."""
    clients[0].chat(0, {"report": True})  # a report brings every count that is due
    before = server.counter("eah_requests_total", outcome="applied")
    streamed = all_at_once(clients, lambda idx, client: list(client.chat(idx, EAH, stream=idx % 2 == 0)))
    assert len(streamed) == NUM_CLIENTS
    server.wait_for_counter(before + NUM_CLIENTS, "eah_requests_total", outcome="applied")
    shown = [client.eah_metrics() for client in clients]
    assert all(one == shown[0] for one in shown)
    heads = sum(value for name, value in shown[0].items() if name.startswith("eah_source_heads_total"))
    assert heads == shown[0]['eah_requests_total{outcome="applied"}']


def test_disconnects_leave_no_state(server: Server, clients: list[Client]) -> None:
    clients[0].chat(0, {"report": True})
    before = server.counter("eah_requests_total", outcome="applied")

    def leave(idx: int, client: Client) -> None:
        stream = client.chat(idx, EAH | {"report": idx % 2 == 0}, stream=True, max_tokens=400)
        next(iter(stream))
        stream.close()

    all_at_once(clients, leave)
    for engine in ("0", "1"):
        server.wait_for_counter(0, "vllm:num_requests_running", engine=engine, model_name="tiny")
    server.wait_for_counter(before + NUM_CLIENTS, "eah_requests_total", outcome="applied")
    assert all(
        answer.eah["applied"] for answer in all_at_once(clients, lambda idx, client: client.chat(idx, {"report": True}))
    )


def test_an_engine_elsewhere_without_eah_is_refused(unusual_checkpoint: Path, tmp_path: Path) -> None:
    """As on two machines: half of the requests would silently be answered without EAH."""
    arguments = [str(unusual_checkpoint), *SMALL, "--data-parallel-size", "2", "--data-parallel-size-local", "1"]
    arguments += ["--data-parallel-address", "127.0.0.1", "--data-parallel-rpc-port", str(free_port())]
    unbound = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    command = [str(Path(sys.executable).with_name("eah-vllm")), "serve", *arguments]
    with (tmp_path / "log").open("wb") as log:
        elsewhere = subprocess.Popen(
            [*command, "--headless", "--data-parallel-start-rank", "1"],
            env=os.environ | unbound | {"EAH_DISABLE": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with pytest.raises(RuntimeError, match="an engine of this server runs without it or with other defaults"):
            Server([*arguments, "--api-server-count", "1"], env=unbound)
    finally:
        elsewhere.send_signal(signal.SIGTERM)
        try:
            elsewhere.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(elsewhere.pid, signal.SIGKILL)
