"""Prometheus counters, shown in vLLM's own `/metrics`."""

from functools import cache

from prometheus_client import Counter

from eah_vllm.method.registry import METHODS


class EAHMetrics:
    """Counts requests by method; a process may have only one such object, because of Prometheus."""

    def __init__(self) -> None:
        self._requests = {
            name: Counter(f"{name}_requests", f"Requests that asked for {name}, by what became of it.", ["outcome"])
            for name in METHODS
        }
        self._source_heads = {
            name: Counter(f"{name}_source_heads", "Layers in which a head was the source.", ["layer", "head"])
            for name in METHODS
        }

    def count_requests(self, method: str, outcome: str, number: int = 1) -> None:
        """Count requests by `outcome`: "applied", "refused" (400) or a reason of `eah_vllm.report`."""
        self._requests[method].labels(outcome=outcome).inc(number)

    def count_source_head(self, method: str, layer: int, head: int, number: int) -> None:
        """Count `number` more layers `layer` in which `head` was the source head."""
        self._source_heads[method].labels(layer=str(layer), head=str(head)).inc(number)


@cache
def metrics() -> EAHMetrics:
    """Return this process's counters."""
    return EAHMetrics()
