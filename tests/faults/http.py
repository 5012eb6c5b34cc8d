"""A raw HTTP client: it can be as slow or as rude as a fault wants, and knows whether an answer is complete."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tools.serving import API_KEY

HEALTH_SECONDS = 5


@dataclass(slots=True)
class Reply:
    """What came back; `complete` by HTTP's own rules, so a connection that is cut is seen."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def events(self) -> list[dict[str, Any]]:
        """Whole events of a stream."""
        lines = self.body.decode(errors="replace").split("\n\n")[:-1]
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]

    @property
    def done(self) -> bool:
        """The stream said that it is over."""
        return b"data: [DONE]" in self.body


OnData = Callable[[Reply], None]


class Connection:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, receive_buffer: int | None = None) -> Connection:
        """Connect; a small receive buffer makes the server feel a slow reader."""
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        limit = receive_buffer or 1 << 16
        return cls(*await asyncio.open_connection(sock=connection, limit=limit))

    def send(self, data: bytes) -> None:
        """Write, without waiting for the server."""
        self.writer.write(data)

    async def reply(self, on_data: OnData | None = None) -> Reply:
        """Read one answer to its end, or to the connection's; `on_data` sees it grow."""
        reply = Reply()
        try:
            await self._read(reply, on_data or (lambda _: None))
            reply.complete = True
        except (asyncio.IncompleteReadError, ConnectionError):
            reply.complete = False
        return reply

    async def _read(self, reply: Reply, on_data: OnData) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        reply.status = int(head[0].split()[1])
        pairs = (line.split(":", 1) for line in head[1:] if line)
        reply.headers = {name.strip().lower(): value.strip() for name, value in pairs}
        on_data(reply)
        if reply.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                reply.body += (await self.reader.readexactly(size + 2))[:-2]
                on_data(reply)
            await self.reader.readexactly(2)
        else:
            reply.body = await self.reader.readexactly(int(reply.headers.get("content-length", 0)))
            on_data(reply)

    def hang_up(self) -> None:
        """Close at once, without a farewell."""
        self.writer.transport.abort()


def request_head(length: int, path: str = "/v1/chat/completions") -> bytes:
    """Headers of a POST whose body has this many bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {API_KEY}", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def encode(body: dict[str, Any]) -> bytes:
    """A whole POST."""
    data = json.dumps(body).encode()
    return request_head(len(data)) + data


async def ask(port: int, body: dict[str, Any], on_data: OnData | None = None) -> Reply:
    """One request on a connection of its own; a refused connection is a reply that never came."""
    try:
        connection = await Connection.open(port)
    except ConnectionError:
        return Reply()
    try:
        connection.send(encode(body))
        return await connection.reply(on_data)
    finally:
        connection.hang_up()


async def get(port: int, path: str) -> Reply:
    """A GET; status 0 where nobody answers in time."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            connection = await Connection.open(port)
            try:
                connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return await connection.reply()
            finally:
                connection.hang_up()
    except (ConnectionError, TimeoutError):
        return Reply()
