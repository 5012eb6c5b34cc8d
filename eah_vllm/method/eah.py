"""The EAH intervention on one layer: count sinks, choose each prompt's source head, broadcast its map."""

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from eah_vllm.method.prompt_batch import Prompt, PromptBatch
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.sinks import count_sinks, mean_over_later_rows
from eah_vllm.method.source_head import choose_source_head

RELEASED_CODE_DIVISOR = 647
"""The released code divides column c by 647 - c: correct for prompts of 648 tokens (modeling_llama_eah.py line 86)."""


def random_number(seed: int, layer: int, pictures: Sequence[str]) -> int:
    """Return the number that decides `head: "random"` in one layer of one request.

    Every rank, a prompt that is computed again and another request about the same pictures get the same number. The
    question has no part in it, so that a head recorded with a cached image prefix is the one that the next question
    would draw.

    Args:
        seed: the request's option `seed`, which names one of several independent draws.
        layer: decoder layer, 0-based.
        pictures: identities of the prompt's pictures, in prompt order. The prompt's token ids are the same for every
            picture, so they cannot stand in their place.
    """
    return int.from_bytes(hashlib.sha256(json.dumps([seed, layer, *pictures]).encode()).digest())


def choose_heads(
    prompts: PromptBatch[Prompt], layer: int, query: Tensor, key: Tensor, scale: float, shards: HeadShards
) -> Tensor:
    """Choose the source head of every prompt in one layer (arXiv 2411.09968).

    Returns int64 `[prompts, 4]`, on the query's device: source head, its sinks, most sinks of any head, broadcast or
    not.

    Args:
        prompts: whole prompts of a step.
        layer: decoder layer, 0-based.
        query: `[tokens, local heads, head_dim]` of the step, after rotary embedding.
        key: `[tokens, local kv heads, head_dim]`.
        scale: factor on the scores before the softmax.
        shards: where the layer's other heads are.
    """
    columns, received = prompts.attention_received(query, key, scale)
    states = [prompt.state for prompt in prompts.slices]
    counts = []
    for state, positions, sums in zip(states, columns, received, strict=True):
        released = state.settings.preset == "released_code"
        divisor = (RELEASED_CODE_DIVISOR if released else state.prompt_length - 1) - positions
        mean = mean_over_later_rows(sums, divisor)
        counts.append(count_sinks(mean, state.settings.sink_threshold(state.prompt_length)))
    choices = []
    for state, sinks in zip(states, shards.gather_heads(torch.stack(counts)), strict=True):
        settings = state.settings
        number = random_number(settings.seed, layer, state.pictures) if settings.head == "random" else 0
        source, broadcast = choose_source_head(
            sinks,
            state.image_tokens,
            settings.head,
            min_density=settings.min_density,
            head_zero_wins=settings.preset != "released_code",
            random_seed=number,
        )
        choices.append(torch.stack((source, sinks.gather(0, source.view(1))[0], sinks.max(), broadcast)))
    return torch.stack(choices)


def on_host(choices: Tensor) -> tuple[Tensor, torch.Event | None]:
    """Start the copy of `choices` that reports and counts will read; without an event there is nothing to wait for.

    The copy is read when a report is collected; waiting for it here would stall the step.
    """
    if choices.device.type == "cpu":
        return choices, None
    copy = torch.empty_like(choices, device="cpu", pin_memory=True)
    copy.copy_(choices, non_blocking=True)
    copied = torch.Event(choices.device)
    copied.record()
    return copy, copied
