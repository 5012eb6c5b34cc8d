"""The EAH intervention on one layer of one prompt: count sinks, choose the source head, broadcast its map."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eah_vllm.attention import broadcast_attention, head_query_key
from eah_vllm.request_state import LayerOutcome, RequestState
from eah_vllm.sinks import choose_source_head, count_sinks, mean_attention_received
from eah_vllm.spans import ImageSpan

RELEASED_CODE_DIVISOR = 647
"""The released code divides column c by 647 - c: right for prompts of 648 tokens (modeling_llama_eah.py line 86)."""


@dataclass(frozen=True, slots=True)
class HeadShards:
    """How a layer's query heads are spread over tensor-parallel ranks: rank r holds heads r * n to (r + 1) * n - 1."""

    rank: int
    num_ranks: int
    all_reduce: Callable[[Tensor], Tensor]
    """Sum over ranks."""

    def gather_heads(self, local: Tensor) -> Tensor:
        """`[local heads]` of every rank -> `[heads]`, on every rank."""
        if self.num_ranks == 1:
            return local
        # float32 holds these counts exactly; vLLM's shared-memory all-reduce on CPU takes no integers.
        slots = torch.zeros(self.num_ranks, len(local), device=local.device)
        slots[self.rank] = local
        return self.all_reduce(slots.flatten()).to(local.dtype)

    def take_head(self, query: Tensor, key: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
        """The source head's query and key on every rank, from the one rank that holds it."""
        if self.num_ranks == 1:
            return head_query_key(query, key, head)
        mine, local_head = self._find(head, query.shape[1])
        both = self._share(torch.cat(head_query_key(query, key, local_head), dim=-1), mine)
        return both[:, : query.shape[-1]], both[:, query.shape[-1] :]

    def take_group(self, per_kv_head: Tensor, head: Tensor, num_heads: int) -> Tensor:
        """What the source head's group holds, `[n, local kv heads, ...]` -> `[n, ...]`, on every rank.

        Args:
            per_kv_head: of this rank.
            head: the source head, int64 scalar.
            num_heads: query heads of a rank.
        """
        mine, local_head = self._find(head, num_heads)
        kv_head = torch.div(local_head, num_heads // per_kv_head.shape[1], rounding_mode="floor")
        group = per_kv_head.index_select(1, kv_head.view(1))[:, 0]
        return group if self.num_ranks == 1 else self._share(group, mine)

    def _find(self, head: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
        local_head = head - self.rank * num_heads
        return (local_head >= 0) & (local_head < num_heads), local_head.clamp(0, num_heads - 1)

    def _share(self, local: Tensor, mine: Tensor) -> Tensor:
        # Adding zeros is exact, so every rank gets the owner's bits; the owner is known on the device only.
        return self.all_reduce(torch.where(mine, local, torch.zeros_like(local)))


def image_columns(spans: Sequence[ImageSpan], device: torch.device, *, drop_first: bool = False) -> Tensor:
    """Prompt positions of the image tokens, int64; `drop_first` omits each span's first, as the released `[36:611]`.

    Made on the device: a copy from the host would wait for it.
    """
    return torch.cat([torch.arange(span.start + drop_first, span.stop, device=device) for span in spans])


def random_seed(prompt_token_ids: Sequence[int] | None) -> int:
    """A seed for `head: "random"` that every rank, and a repeated prefill, finds again."""
    return zlib.crc32(repr(list(prompt_token_ids or ())).encode())


def choose_head(
    state: RequestState, layer: int, query: Tensor, key: Tensor, scale: float, shards: HeadShards
) -> Tensor:
    """Choose the source head of one prompt in one layer (arXiv 2411.09968).

    Returns int64 `[source head, its sinks, most sinks of any head, broadcast or not]`, on the query's device.

    Args:
        state: the request.
        layer: decoder layer, 0-based.
        query: `[S, local heads, head_dim]`, the whole prompt's, after rotary embedding.
        key: `[S, local kv heads, head_dim]`.
        scale: factor on the scores before the softmax.
        shards: where the layer's other heads are.
    """
    settings, released = state.settings, state.settings.preset == "released_code"
    columns = image_columns(state.spans, query.device, drop_first=released)
    divisor = RELEASED_CODE_DIVISOR - columns if released else None
    received = mean_attention_received(query, key, columns, scale, divisor=divisor)
    sinks = shards.gather_heads(count_sinks(received, settings.sink_threshold(state.prompt_length)))
    source, broadcast = choose_source_head(
        sinks,
        state.image_tokens,
        settings.head,
        min_density=settings.min_density,
        head_zero_wins=not released,
        random_seed=state.random_seed + layer,
    )
    return torch.stack((source, sinks[source], sinks.max(), broadcast))


def broadcast_head(
    source: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, shards: HeadShards
) -> Tensor:
    """Attention of one whole prompt with the source head's map for every head: `[S, local heads, value_dim]`.

    Args:
        source: the source head, int64 scalar on the query's device.
        query: `[S, local heads, head_dim]`.
        key: `[S, local kv heads, head_dim]`.
        value: `[S, local kv heads, value_dim]`.
        scale: factor on the scores before the softmax.
        shards: where the layer's other heads are.
    """
    source_query, source_key = shards.take_head(query, key, source)
    return broadcast_attention(source_query, source_key, value, query.shape[1], scale)


def layer_outcome(layer: int, image_tokens: int, numbers: Tensor, *, reused: bool) -> LayerOutcome:
    """Keep what a layer did for the report, without waiting for the device; `numbers` as from `choose_head`."""
    if numbers.device.type == "cpu":
        return LayerOutcome(layer, image_tokens, numbers, reused=reused)
    # Read when the report is collected; waiting here would stall the step.
    on_host = torch.empty_like(numbers, device="cpu", pin_memory=True)
    on_host.copy_(numbers, non_blocking=True)
    copied = torch.Event(numbers.device)
    copied.record()
    return LayerOutcome(layer, image_tokens, on_host, copied, reused)
