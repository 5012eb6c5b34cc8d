"""The choice of the source head, whose attention map the whole layer will use (EAH, arXiv 2411.09968)."""

import torch
from torch import Tensor


def choose_source_head(
    sinks: Tensor,
    image_tokens: int,
    rule: str | int,
    *,
    min_density: float = 0.0,
    head_zero_wins: bool = True,
    random_seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Choose the head whose attention map the layer will use; nothing here waits for the device.

    Args:
        sinks: int64 `[num_heads]`, vision sinks of every head of the layer.
        image_tokens: image tokens of the prompt.
        rule: "auto" (most sinks, lowest index on ties), "sparsest" (fewest), "random", or a fixed head.
        min_density: gamma, the least share of image tokens that are sinks of the source head; for "auto".
        head_zero_wins: False repeats the released code's `if k > 0`, which never broadcasts head 0; for "auto".
        random_seed: decides "random": the head is this number modulo the number of heads; the same on every rank.

    Returns:
        The source head (int64 scalar) and whether to broadcast its map (bool scalar), both on the device of `sinks`.
    """
    num_heads = len(sinks)
    if isinstance(rule, int):
        return torch.full_like(sinks[0], rule), torch.ones_like(sinks[0], dtype=torch.bool)
    head_idx = torch.arange(num_heads, device=sinks.device)
    if rule == "random":
        source = torch.full_like(sinks[0], random_seed % num_heads)
    elif rule == "sparsest":
        source = (sinks * num_heads + head_idx).argmin()
    else:
        # argmax does not promise to return the first of equals; adding the index makes the lowest head win.
        source = (sinks * num_heads + (num_heads - 1 - head_idx)).argmax()
    broadcast = sinks.max() > 0
    if rule == "auto":
        broadcast = broadcast & (sinks.gather(0, source.view(1))[0] >= min_density * image_tokens)
        if not head_zero_wins:
            broadcast = broadcast & (source > 0)
    return source, broadcast
