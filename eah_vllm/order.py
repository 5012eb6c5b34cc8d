"""What the scheduler says to the workers about a request that asks for a method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eah_vllm.settings import MethodSettings

ORDER_FIELD = "eah/order"
"""Field of `SamplingParams.extra_args` that only our scheduler may write; whatever a caller puts there is removed."""


@dataclass(frozen=True, slots=True)
class Order:
    """One request's method and settings: options are read and resolved once, by the scheduler, and never again."""

    method: str
    settings: MethodSettings
    tag: str | None = None
    """Name of the report that somebody will collect; None when nobody asked for one."""
    record: str | None = None
    """Name of the cached prefix whose recorded heads it uses, or records; None without `prefix_reuse`."""
    modalities: tuple[str, ...] = ("image",)
    """Modalities whose tokens count as image tokens in this model."""
    reason: str | None = None
    """The reason why the method cannot be applied (one of `eah_vllm.report`), where the scheduler knows one."""


def order_of(extra_args: Mapping[str, Any] | None) -> Order | None:
    """Return the order that the scheduler wrote, None for a request that asks for no method."""
    return (extra_args or {}).get(ORDER_FIELD)
