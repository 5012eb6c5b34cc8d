"""Says why a layer's attention cannot be changed: EAH is defined on plain causal attention over all heads."""

from vllm.model_executor.layers.attention import Attention
from vllm.v1.attention.backend import AttentionType

NO_ATTENTION = "the layer has no attention that reads keys and values of single heads"
"""Linear attention, state-space layers, latent attention (MLA)."""

KINDS = {
    "ChunkedLocalAttention": "chunked-local attention",
    "CrossAttention": "cross attention",
    "EncoderOnlyAttention": "encoder attention",
    "PrefillPrefixLMAttention": "the prompt attends both ways",
    "RSWAAttention": "sliding window",
    "StaticSinkAttention": "learned sinks",
}
"""Of vLLM's subclasses of `Attention`; any that is not here is refused by its name."""


def why_not_plain_causal(attention: Attention) -> str | None:
    """Return what a layer's attention has that EAH cannot be applied to; None for plain causal attention."""
    impl, kind = attention.impl, type(attention)
    # A subclass changes what attention computes, so it is refused until somebody has looked at it.
    if kind is not Attention:
        return KINDS.get(kind.__name__, f"attention of kind {kind.__name__}")
    found = {
        f"attention of type {attention.attn_type}": attention.attn_type != AttentionType.DECODER,
        "sliding window": attention.sliding_window is not None,
        "soft cap": bool(getattr(impl, "logits_soft_cap", None)),
        "ALiBi": getattr(impl, "alibi_slopes", None) is not None,
        "learned sinks": attention.has_sink,
        "images attend both ways": attention.use_mm_prefix,
        "keys and values of another layer": attention.kv_sharing_target_layer_name is not None,
        "values of another size than keys": attention.head_size_v != attention.head_size,
    }
    return next((reason for reason, has in found.items() if has), None)
