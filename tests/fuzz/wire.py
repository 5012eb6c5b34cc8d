"""Sends bytes as they are, and reads what the server makes of them: no client library in between that would tidy up."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; no status where the connection ended without an answer."""

    status: int | None
    seconds: float
    """From just before the last piece was sent to the last byte received."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def message(self) -> str:
        """The error message of an OpenAI-like answer."""
        found = self.json()
        error = found.get("error") if isinstance(found, dict) else None
        text = error.get("message") if isinstance(error, dict) else None
        return text if isinstance(text, str) else ""


def send(address: tuple[str, int], pieces: Iterable[bytes], *, seconds: float, half: bool = False) -> Reply:
    """One request on a connection of its own.

    Args:
        address: host and port.
        pieces: the bytes; a server may answer before it has seen all of them.
        seconds: how long to wait for an answer.
        half: say that no more will come, after the last byte.
    """
    pieces = iter(pieces)
    head = next(pieces, b"")
    method = "HEAD" if head.startswith(b"HEAD ") else "POST"  # what is read back depends on it
    with socket.create_connection(address, timeout=seconds) as connection:
        started = _send(connection, chain((head,), pieces))
        if half:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection, method=method)
        try:
            answer.begin()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return Reply(None, time.monotonic() - started, problem=f"{type(error).__name__}: {error}")
        return Reply(answer.status, time.monotonic() - started, body, dict(answer.getheaders()))


def _send(connection: socket.socket, pieces: Iterable[bytes]) -> float:
    """Send all pieces; return when the last one began, since the server may answer before this client runs again."""
    began = time.monotonic()
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            if select.select([connection], [], [], 0)[0] and not connection.recv(12, socket.MSG_PEEK).endswith(b"100"):
                return began  # answered already, by more than "100 Continue"
            began = time.monotonic()
            try:
                connection.sendall(piece[start : start + PIECE])
            except (BrokenPipeError, ConnectionResetError):
                return began  # refused; its reason may still be there to be read
    return began
