"""Compares what a check said under load with what it said alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.02
"""Difference of P(yes) that counts as none: another batch is summed in another order."""
PLACED = ("text", "start", "end", "object", "verdict")


def differs(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return what is different about a report, or None.

    Tokens that were cached depend on who came before, and `action` and `original` on what was asked for.
    """
    for name in ("checked", "reason", "error", "denied", "asked", "unasked"):
        if seen.get(name) != wanted.get(name):
            return f"verify.{name} is {seen.get(name)!r}, not {wanted.get(name)!r}"
    for one, other in zip(seen["mentions"], wanted["mentions"], strict=False):
        if any(one[name] != other[name] for name in PLACED) or abs((one["p_yes"] or 0) - (other["p_yes"] or 0)) > LEVEL:
            return f"verify.mentions has {one}, not {other}"
    if len(seen["mentions"]) != len(wanted["mentions"]):
        return f"verify.mentions has {len(seen['mentions'])} mentions, not {len(wanted['mentions'])}"
    return None
