"""Makes the names that clients give to their pictures safe to use.

vLLM uses a part's `uuid` as the key of its caches, in place of the picture's hash, for all clients alike. So a client
could name its picture by the hash of another client's and be cached in that one's place, or ask for a name alone and
have another client's picture described. Here a name counts only among requests of the same `cache_salt`, and can never
be a hash of content.
"""

import hashlib
import json
from typing import Any


def bind_uuids(request: Any) -> Any:
    """Rewrite each part's `uuid` in place, in a chat or responses request not yet validated, and return the request."""
    if isinstance(request, dict):
        salt = request.get("cache_salt")
        for part in _parts(request.get("messages")) + _parts(request.get("input")):
            if part.get("uuid") is not None:
                named = json.dumps(["eah media uuid", str(salt), str(part["uuid"])])
                part["uuid"] = hashlib.sha256(named.encode()).hexdigest()
    return request


def _parts(messages: Any) -> list[dict[str, Any]]:
    """Return the content parts of messages, or of lists of messages, as a batch has them."""
    if not isinstance(messages, list):
        return []
    parts: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            parts += [part for part in content if isinstance(part, dict)]
        elif isinstance(message, list):
            parts += _parts(message)
    return parts
