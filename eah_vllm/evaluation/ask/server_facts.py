"""What the server says of itself, kept with the run: versions, the model's layers and heads, what `on` means there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from eah_vllm.evaluation.ask.asking import Server

FILE = "server.json"


def server_facts(server: Server, out: Path) -> dict[str, Any]:
    """`GET /v1/eah`; what a run before kept where the server is away, nothing for a server without such a page."""
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
