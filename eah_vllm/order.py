"""What the scheduler says to the workers about a request that asks for methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eah_vllm.settings import MethodSettings

ORDER_FIELD = "eah/order"
"""Field of `SamplingParams.extra_args` that only our scheduler may write; whatever a caller puts there is removed."""


@dataclass(frozen=True, slots=True)
class Order:
    """A method and its settings for one request: options are read and resolved once, by the scheduler."""

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
    slot: int | None = None
    """The request's place in the buffers of a method that acts on generated rows (`method/rows.py`)."""
    is_image_free: bool = False
    """Whether this is the image-free pass of another request, whose slot keeps what its last row computes."""
    image_free_tokens: int | None = None
    """Prompt tokens of the request's image-free pass, None where the method needs none."""


def image_free_id(request_id: str) -> str:
    """Return the ID of a request's image-free pass."""
    return f"{request_id}-image-free"


def orders_of(extra_args: Mapping[str, Any] | None) -> tuple[Order, ...]:
    """Return the orders that the scheduler wrote, one for each method; none for a plain request."""
    orders: tuple[Order, ...] = (extra_args or {}).get(ORDER_FIELD, ())
    return orders
