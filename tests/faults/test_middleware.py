"""The gate and the patience with slow clients, on uvicorn with a small app: no engine, so every case is quick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from eah_vllm_server.gate import Gate, GateMiddleware, request_limit
from eah_vllm_server.hardening.edge.slow_clients import CONNECTION_SECONDS, SlowClientsMiddleware
from eah_vllm_server.hardening.limits import HTTPLimits
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from vllm.config import SchedulerConfig

from tests.faults.http import Connection, Reply, ask, encode, get, request_head
from tools.serving import free_port

PATIENCE = 0.5
PIECE = b"x" * 65536
LIMIT = 2


class App:
    """`POST /v1/chat/completions` waits for `go`, or streams without end; what came of its requests is counted."""

    def __init__(self) -> None:
        self.port, self.gate, self.go = free_port(), Gate(), asyncio.Event()
        self.begun = self.ended = 0
        self.app = FastAPI()
        self.app.state.http_limits = HTTPLimits(client_timeout=PATIENCE)
        self.app.add_middleware(SlowClientsMiddleware)
        self.app.add_middleware(GateMiddleware, gate=self.gate)
        self.app.post("/v1/chat/completions")(self.answer)
        self.app.get("/health")(lambda: "well")
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=self.port, log_level="error"))
        self.app.state.server = self.server

    async def answer(self, body: dict[str, Any]) -> Any:
        self.begun += 1
        if body.get("stream"):
            return StreamingResponse(self._pieces(), media_type="text/event-stream")
        await self.go.wait()
        self.ended += 1
        return body

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)  # as one that waits for tokens; where it waits, it can be ended
                yield PIECE
        finally:
            self.ended += 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[App]:
        serving = asyncio.create_task(self.server.serve())
        await until(lambda: self.server.started)
        yield self
        self.server.should_exit = True
        await serving


async def until(true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


def test_the_rest_is_refused_and_a_place_is_free_again() -> None:
    async def run() -> None:
        async with App().serving() as app:
            app.gate.limit = LIMIT
            answered = [asyncio.create_task(ask(app.port, {"n": n})) for n in range(LIMIT)]
            await until(lambda: app.begun == LIMIT)
            refused = await ask(app.port, {"n": -1})
            assert (refused.status, refused.headers["retry-after"], refused.complete) == (503, "1", True)
            assert refused.json()["error"]["code"] == 503
            assert (await get(app.port, "/health")).status == 200
            app.go.set()
            assert [reply.json() for reply in await asyncio.gather(*answered)] == [{"n": n} for n in range(LIMIT)]
            assert (await ask(app.port, {"n": 9})).status == 200
            assert app.begun == LIMIT + 1

    asyncio.run(run())


def test_a_closed_gate_lets_out_who_is_in() -> None:
    async def run() -> None:
        async with App().serving() as app:
            inside = asyncio.create_task(ask(app.port, {"n": 1}))
            await until(lambda: app.begun == 1)
            app.gate.closed = True
            assert (await get(app.port, "/health")).status == 503
            assert (await ask(app.port, {"n": 2})).status == 503
            empty = asyncio.create_task(app.gate.wait_until_empty())
            assert not empty.done()
            app.go.set()
            assert (await inside).json() == {"n": 1}
            await asyncio.wait_for(empty, 60)
            assert app.begun == 1

    asyncio.run(run())


@pytest.mark.parametrize("drips", [False, True], ids=["stops", "drips"])
def test_a_body_that_does_not_come_gets_408(drips: bool) -> None:
    async def run() -> Reply:
        async with App().serving() as app:
            connection = await Connection.open(app.port)
            data = json.dumps({"n": "x" * 10_000}).encode()
            connection.send(request_head(len(data)) + data[:10])
            replying = asyncio.create_task(connection.reply())
            for byte in data[10:] if drips else b"":
                if replying.done():
                    break
                connection.send(bytes([byte]))
                await asyncio.sleep(PATIENCE / 5)
            reply = await asyncio.wait_for(replying, 60)
            assert app.begun == app.gate.under_way == 0
            with suppress(ConnectionResetError):  # closed: the rest of the body would be read as a request
                assert await connection.reader.read() == b""
            return reply

    reply = asyncio.run(run())
    assert (reply.status, reply.complete, reply.headers["connection"]) == (408, True, "close")


def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    async def run() -> None:
        async with App().serving() as app:
            connection = await Connection.open(app.port, receive_buffer=4096)
            connection.send(encode({"stream": True}))
            await until(lambda: app.begun == 1)
            assert app.gate.under_way == 1
            await until(lambda: app.gate.under_way == 0)
            await until(lambda: app.ended == 1)  # its generator is closed
            got = await connection.reader.read(-1)
            assert PIECE[:1000] in got
            assert not got.endswith(b"0\r\n\r\n")

    asyncio.run(run())


def test_a_stalled_client_does_not_keep_the_server_from_ending() -> None:
    async def run() -> None:
        app = App()
        app.app.state.http_limits = HTTPLimits(client_timeout=3600)
        async with app.serving():
            connection = await Connection.open(app.port)
            connection.send(request_head(1000) + b"{")
            await until(lambda: app.gate.under_way == 1)
        assert app.server.config.timeout_graceful_shutdown == CONNECTION_SECONDS

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(("asked", "running", "limit"), [(7, 32, 7), (0, 32, 0), (None, 32, 256), (None, 512, 2048)])
def test_the_limit_is_vllms_option_or_follows_what_runs(asked: int | None, running: int, limit: int) -> None:
    config = SchedulerConfig.default_factory(
        max_num_seqs=running, max_num_queued_reqs=asked, max_num_batched_tokens=8192
    )
    assert request_limit(config) == limit
