"""Prometheus counters, shown in vLLM's own `/metrics`."""

from functools import cache

from prometheus_client import Counter


class EAHMetrics:
    """Counts EAH requests; a process may have only one such object, because of Prometheus."""

    def __init__(self) -> None:
        self._requests = Counter("eah_requests", "Requests that asked for EAH, by what became of it.", ["outcome"])
        self._source_heads = Counter(
            "eah_source_heads", "Broadcasts of a source head's attention map.", ["layer", "head"]
        )

    def count_requests(self, outcome: str, number: int = 1) -> None:
        """Count requests by `outcome`: "applied", "refused" (400) or a reason of `eah_vllm.report`."""
        self._requests.labels(outcome=outcome).inc(number)

    def count_source_head(self, layer: int, head: int, number: int) -> None:
        """Count `number` more broadcasts of source head `head` in `layer`."""
        self._source_heads.labels(layer=str(layer), head=str(head)).inc(number)


@cache
def metrics() -> EAHMetrics:
    """Return this process's counters."""
    return EAHMetrics()
