"""The server under attack: how to reach it, and what can be seen of it."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from tests.fuzz.case import Case
from tests.fuzz.watch import Memory
from tests.fuzz.wire import Reply, send
from tools.serving import API_KEY, Server

WAIT_SECONDS = 60
"""Longer than any answer may take: what is slow is to be measured, not cut off."""


@dataclass(slots=True)
class Target:
    """`server` is None for one that somebody else started: its memory and its log are out of sight."""

    host: str
    port: int
    key: str = API_KEY
    server: Server | None = None
    read: int = 0
    """How much of the log was looked at."""

    @classmethod
    def of(cls, server: Server) -> Target:
        """A server that the test started."""
        return cls("127.0.0.1", server.port, server=server)

    @classmethod
    def at(cls, base_url: str, key: str) -> Target:
        """A server that is there already, by the address that clients use."""
        parts = urllib.parse.urlsplit(base_url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, key)

    @property
    def netloc(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def ask(self, case: Case) -> Reply:
        """Send one request and wait for its answer."""
        pieces = case.wire(self.netloc, self.key)
        return send((self.host, self.port), pieces, seconds=WAIT_SECONDS, half=case.half)

    def memory(self) -> Memory | None:
        """What its processes hold."""
        return Memory(self.server.pid) if self.server is not None else None

    def new_log(self) -> str:
        """What the log says since the last call."""
        if self.server is None:
            return ""
        log = self.server.log()
        new, self.read = log[self.read :], len(log)
        return new
