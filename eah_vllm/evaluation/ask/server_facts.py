"""The server's description of itself, kept with the run: versions, layers and heads, and what `on` means there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from eah_vllm.evaluation.ask.asking import Server

FILE = "server.json"


def server_facts(server: Server, out: Path) -> dict[str, Any]:
    """Return the answer to `GET /v1/eah`, or what an earlier run kept if the server is away.

    It is empty for a server without such a route.
    """
    kept = out / FILE
    headers = {"Authorization": f"Bearer {server.api_key}"}
    try:
        reply = httpx.get(f"{server.base_url.rstrip('/')}/eah", headers=headers, timeout=10.0)
        found = reply.json() if reply.status_code == httpx.codes.OK else {}
    except (httpx.HTTPError, ValueError):
        return dict(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else {}
    facts = {key: found[key] for key in ("versions", "num_layers", "num_heads", "defaults", "runner") if key in found}
    kept.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts
