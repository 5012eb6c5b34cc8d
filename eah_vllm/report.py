"""Reports of what was done to a request, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NO_IMAGE = "no_image"
"""The prompt has no image tokens."""
NO_SINK = "no_sink"
"""No head of the layer has a vision sink at this threshold."""
BELOW_MIN_DENSITY = "below_min_density"
"""The source head has sinks, but fewer than `min_density` of the image tokens."""
HEAD_ZERO = "head_zero"
"""Head 0 has most sinks, and the preset `released_code` never broadcasts it."""
PROMPT_SPLIT = "prompt_split"
"""No step of this server can hold the whole prompt (`max_whole_prompt` of `/v1/eah`), so none saw all of its rows."""
PREFIX_CACHED = "prefix_cached"
"""The first rows of the prompt came from the prefix cache, so their queries were never computed."""
UNSUPPORTED_ATTENTION = "unsupported_attention"
"""A layer's attention is not plain causal attention; `detail` names the layer and what it has instead."""
UNSUPPORTED_MODEL = "unsupported_model"
"""The served model is not loaded with EAH; `detail` says how to try it."""
DISABLED = "disabled"
"""EAH is switched off on this server (`EAH_DISABLE=1`)."""
NO_HEAD = "no_head"
"""No head of the layer stands out: their outputs with and without the image differ alike."""
NO_IMAGE_FREE_PASS = "no_image_free_pass"
"""The prompt without its images, with which the method compares, could not be computed: no text is left of it."""
LAST_ROW_ALONE = "last_row_alone"
"""The row that predicts the first token came in a step by itself, which a CUDA graph may have replayed."""
LAYERS_APART = "layers_apart"
"""The method takes from some layers what it uses in deeper ones, and pipeline stages keep these layers apart."""
SESSION = "session"
"""The request's prompt grows while it runs (streamed input), so that no row of it is the last one."""
NOT_RUN = "not_run"
"""The prompt was never computed (aborted, or refused by the engine)."""

DETAILS = {
    UNSUPPORTED_MODEL: "docs/models.md lists the models that EAH is applied to; any other multimodal model can be "
    """tried with --additional-config '{"eah": {"any_model": true}}'"""
}
"""What is said of a reason wherever it is given."""


@dataclass(frozen=True, slots=True)
class Report:
    """One request: whether any layer was changed, why one was not (None: all were), and every layer that was read.

    A layer is JSON data that the method makes (`Method.explain`); its field `layer` is the decoder layer, 0-based.
    """

    applied: bool
    reason: str | None
    layers: tuple[Mapping[str, Any], ...] = ()
    detail: str | None = None
    """What else is to be said of the reason; absent from the JSON form where there is nothing."""
    modality: str | None = None
    """Modalities whose tokens counted as image tokens; absent from the JSON form where these were pictures alone."""
    image_free_tokens: int | None = None
    """Prompt tokens of the image-free pass that ran first; absent from the JSON form where there was none."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        said = {"applied": self.applied, "reason": self.reason, "layers": [dict(layer) for layer in self.layers]}
        more = {
            "detail": self.detail or DETAILS.get(self.reason or ""),
            "modality": self.modality,
            "image_free_tokens": self.image_free_tokens,
        }
        return said | {name: value for name, value in more.items() if value is not None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Report":
        """Read the JSON form back."""
        more = (data.get(name) for name in ("detail", "modality", "image_free_tokens"))
        return cls(data["applied"], data["reason"], tuple(data["layers"]), *more)


def merge_reports(parts: Sequence[Report]) -> Report:
    """Merge the reports of several pipeline stages into one: each stage holds some of the layers."""
    if not parts:
        return Report(False, NOT_RUN)
    layers = {layer["layer"]: layer for part in parts for layer in part.layers}
    reasons = [(part.reason, part.detail) for part in parts if part.reason not in (None, NOT_RUN)]
    applied = any(part.applied for part in parts)
    reason, detail = reasons[0] if reasons else (None if applied else NOT_RUN, None)
    of_all = tuple(layers[idx] for idx in sorted(layers))
    return Report(applied, reason, of_all, detail, parts[0].modality, parts[0].image_free_tokens)
