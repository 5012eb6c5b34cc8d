"""Prometheus metrics of checks, shown in vLLM's own `/metrics`."""

from dataclasses import dataclass
from functools import cache

from prometheus_client import Counter, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class VerifyMetrics:
    """What is counted of checks."""

    requests: Counter
    """Requests, by `outcome`: "checked", "changed" (checked, and the answer changed), "no_image", "no_text", "failed",
    "left" (the client did), "refused" (400)."""
    mentions: Counter
    """Mentions in answers, by `verdict`."""
    seconds: Histogram
    """Duration of a check, from the end of the answer to the report."""


@cache
def verify_metrics() -> VerifyMetrics:
    """Return this process's metrics; Prometheus allows only one of a name."""
    return VerifyMetrics(
        Counter("eah_verify_requests", "Requests that asked for a check, by what became of it.", ["outcome"]),
        Counter("eah_verify_mentions", "Mentions of objects in checked answers, by verdict.", ["verdict"]),
        Histogram("eah_verify_seconds", "Seconds from the end of an answer to the end of its check.", buckets=SECONDS),
    )
