"""The table of models that EAH is applied to, one row for each architecture; `docs/models.md` is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["tested here", "same mechanism, untested", "refused"]
TESTED: Verdict = "tested here"
UNTESTED: Verdict = "same mechanism, untested"
REFUSED: Verdict = "refused"

HOW_TO_TRY = (
    """It has no row in docs/models.md; --additional-config '{"eah": {"any_model": true}}' applies the same """
    "mechanism, untested."
)

ALL = "the whole placeholder; start and end tokens lie outside it"
EMBEDDED = "those of the placeholder that carry an embedding; the text tokens between them do not count"
NEWLINES = "the whole placeholder, with the newline embeddings that the model puts among the tiles"
BOTH_WAYS = "image tokens attend both ways, and the method is defined on causal maps; every layer declines"

# The paper's 0.002 is 1.25/S at LLaVA-1.5's prompts of about 625 tokens, and far too strict or too lax at others.
RELATIVE: Mapping[str, Any] = {"relative_threshold": 1.25}
IMAGE, VIDEO = ("image",), ("image", "video")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known about one architecture."""

    architecture: str
    """As in a checkpoint's `config.json`."""
    family: str
    verdict: Verdict
    image_tokens: str = ALL
    """Which tokens of a prompt count as image tokens."""
    modalities: tuple[str, ...] = IMAGE
    """Modalities whose tokens count as image tokens."""
    start: Mapping[str, Any] = field(default_factory=lambda: RELATIVE)
    """Options that differ from the paper's before anybody has said anything; everything else overrides them."""
    note: str = ""
    """Why it is refused, published figures, known harm."""
    mechanism: bool = True
    """Whether the model is loaded with EAH; false where no layer could ever be changed."""

    def facts(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        return {
            "architecture": self.architecture,
            "family": self.family,
            "verdict": self.verdict,
            "image_tokens": self.image_tokens,
            "modalities": list(self.modalities),
            "start": dict(self.start),
            "note": self.note,
        }


_ROWS = (
    Row(
        "LlavaForConditionalGeneration",
        "LLaVA-1.5",
        TESTED,
        start={},
        note="Published (arXiv 2411.09968): the threshold 0.002 and layer 1 (0-based) are for this model.",
    ),
    Row("LlavaNextForConditionalGeneration", "LLaVA-NeXT", UNTESTED, NEWLINES),
    Row("Qwen2_5_VLForConditionalGeneration", "Qwen2.5-VL", UNTESTED, modalities=VIDEO),
    Row("Qwen3VLForConditionalGeneration", "Qwen3-VL", UNTESTED, modalities=VIDEO),
    Row("InternVLForConditionalGeneration", "InternVL3, native", UNTESTED, EMBEDDED, VIDEO),
    Row("Idefics3ForConditionalGeneration", "Idefics3", UNTESTED, EMBEDDED),
)

MODELS: Mapping[str, Row] = {row.architecture: row for row in _ROWS}
"""Every row, by architecture."""

SUPPORTED_ARCHITECTURES = frozenset(row.architecture for row in _ROWS if row.mechanism)
"""Architectures that are loaded with EAH unless it is switched off."""


def row_of(architecture: str) -> Row:
    """Return an architecture's row; without one, that of a model which somebody tries with `any_model`."""
    untried = Row(architecture, "no row", UNTESTED, EMBEDDED, note=HOW_TO_TRY)
    return MODELS.get(architecture, untried)
