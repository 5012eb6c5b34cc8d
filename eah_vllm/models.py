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
EMBEDDED = "those of the placeholder that carry an embedding; text tokens between them do not count"
NEWLINES = "the whole placeholder, with the newline embeddings that the model puts among the tiles"
BOTH_WAYS = "Image tokens attend both ways, and the method is defined on causal maps, so every layer declines."
HYBRID = (
    "Three of four layers are linear attention and decline; layer 3 is the first with attention. With prefix caching "
    "vLLM splits such models' prompts at its blocks, and EAH answers `prompt_split`: `--no-enable-prefix-caching`. On "
    "CPUs vLLM computes these layers in bfloat16 only, so there is no exact comparison with the reference."
)
LACKING = "vLLM has no such model. It would take "

# The paper's 0.002 is 1.25/S at LLaVA-1.5's prompts of about 625 tokens, and far too strict or too lax at others.
RELATIVE: dict[str, Any] = {"relative_threshold": 1.25}
IMAGE, VIDEO = ("image",), ("image", "video")

Grid = Literal["unknown", "square", "merged", "newlines", "lines", "tiles"]
UNKNOWN: Grid = "unknown"
SQUARE: Grid = "square"
"""One square of tokens for the picture, or for the square in its middle."""
MERGED: Grid = "merged"
"""One grid for the whole picture, as large as `image_grid_thw` says, with patches merged into tokens."""
WITH_NEWLINES: Grid = "newlines"
"""A square for the whole picture, then a finer grid with a newline embedding at the end of each row."""
LINES: Grid = "lines"
"""One grid for the whole picture, with a text token after each row."""
TILES: Grid = "tiles"
"""Equal squares, one for each tile of the picture, row by row; where there are several, the last one is all of it."""


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
    grid: Grid = UNKNOWN
    """How a picture's tokens lie over it, for the inspector."""
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
        note="The paper's options are for this model. Published (VHR, arXiv 2412.13949): CHAIRs 49.7 to 38.8, CHAIRi "
        "14.3 to 11.1, POPE F1 as before.",
        grid=SQUARE,
    ),
    Row(
        "LlavaNextForConditionalGeneration",
        "LLaVA-NeXT (Vicuna, Mistral)",
        TESTED,
        NEWLINES,
        note="Published (VHR, arXiv 2412.13949): CHAIRs 29.1 to 28.1, CHAIRi 8.1 to 6.6, but POPE F1 falls from 88.5 "
        "to 84.3.",
        grid=WITH_NEWLINES,
    ),
    Row("LlavaOnevisionForConditionalGeneration", "LLaVA-OneVision", TESTED, NEWLINES, VIDEO, grid=WITH_NEWLINES),
    Row("Qwen2VLForConditionalGeneration", "Qwen2-VL", TESTED, modalities=VIDEO, grid=MERGED),
    Row("Qwen2_5_VLForConditionalGeneration", "Qwen2.5-VL", TESTED, modalities=VIDEO, grid=MERGED),
    Row("Qwen3VLForConditionalGeneration", "Qwen3-VL", TESTED, EMBEDDED, VIDEO, grid=MERGED),
    Row("Glm4vForConditionalGeneration", "GLM-4.1V, GLM-4.6V-Flash", TESTED, EMBEDDED, VIDEO, grid=MERGED),
    Row("InternVLForConditionalGeneration", "InternVL3, native", TESTED, EMBEDDED, VIDEO, grid=TILES),
    Row("Idefics3ForConditionalGeneration", "Idefics3", TESTED, EMBEDDED, grid=TILES),
    Row("Mistral3ForConditionalGeneration", "Mistral Small 3.1 and later", TESTED, EMBEDDED, grid=LINES),
    Row(
        "Cohere2VisionForConditionalGeneration",
        "Command A Vision",
        TESTED,
        EMBEDDED,
        start=RELATIVE | {"layer": 3},
        note="Three of four layers have a sliding window and decline; layer 3 is the first without.",
        grid=TILES,
    ),
    Row(
        "Blip2ForConditionalGeneration",
        "BLIP-2",
        TESTED,
        note="It works; no gain is to be expected, since a Q-Former has mixed the picture into 32 tokens. Published "
        "for InstructBLIP, which has the same Q-Former: none.",
    ),
    Row("LlavaNextVideoForConditionalGeneration", "LLaVA-NeXT-Video", UNTESTED, ALL, VIDEO),
    Row("Qwen3VLMoeForConditionalGeneration", "Qwen3-VL, mixture of experts", UNTESTED, EMBEDDED, grid=MERGED),
    Row(
        "Qwen3_5ForConditionalGeneration",
        "Qwen3.5",
        UNTESTED,
        EMBEDDED,
        VIDEO,
        start=RELATIVE | {"layer": 3},
        note=HYBRID,
        grid=MERGED,
    ),
    Row(
        "MiniCPMV4_6ForConditionalGeneration",
        "MiniCPM-V 4.6",
        UNTESTED,
        EMBEDDED,
        VIDEO,
        start=RELATIVE | {"layer": 3},
        note=HYBRID,
    ),
    Row(
        "Qwen3_5MoeForConditionalGeneration",
        "Qwen3.5, mixture of experts",
        UNTESTED,
        EMBEDDED,
        start=RELATIVE | {"layer": 3},
        note=HYBRID,
        grid=MERGED,
    ),
    Row("Glm4vMoeForConditionalGeneration", "GLM-4.5V, GLM-4.6V", UNTESTED, EMBEDDED, grid=MERGED),
    Row("InternVLChatModel", "InternVL, original layout", UNTESTED, EMBEDDED, note="Needs `--trust-remote-code`."),
    Row(
        "SmolVLMForConditionalGeneration",
        "SmolVLM",
        UNTESTED,
        EMBEDDED,
        note="Its processor needs the package num2words, which the test environment has not; the model is Idefics3's.",
        grid=TILES,
    ),
    Row("PixtralForConditionalGeneration", "Pixtral, Mistral's own layout", UNTESTED, EMBEDDED),
    Row(
        "MiniCPMV",
        "MiniCPM-V 2.0 to 4.5",
        UNTESTED,
        EMBEDDED,
        note="Needs `--trust-remote-code`. vLLM's class makes a model of another class, by version; that one gets EAH.",
    ),
    Row("Ovis2_5", "Ovis2.5", UNTESTED, EMBEDDED, note="Needs `--trust-remote-code`."),
    Row("Gemma3ForConditionalGeneration", "Gemma 3", REFUSED, EMBEDDED, note=BOTH_WAYS),
    Row("PaliGemmaForConditionalGeneration", "PaliGemma", REFUSED, note=BOTH_WAYS),
    Row("Molmo2ForConditionalGeneration", "Molmo 2", REFUSED, EMBEDDED, note=BOTH_WAYS),
    Row(
        "KimiVLForConditionalGeneration",
        "Kimi-VL",
        REFUSED,
        note="Latent attention (MLA) keeps no separate heads.",
        mechanism=False,
    ),
    Row(
        "InstructBlipForConditionalGeneration",
        "InstructBLIP",
        REFUSED,
        note=LACKING + "a class like its BLIP-2, with a Q-Former that also reads the question. Published (VHR, "
        "arXiv 2412.13949): no gain, CHAIRs 45.3 without and 46.4 with EAH.",
        mechanism=False,
    ),
    Row(
        "MiniGPT4",
        "MiniGPT-4",
        REFUSED,
        note=LACKING + "its BLIP-2 with Vicuna, EVA's vision tower and a converter: the checkpoint is one projection.",
        mechanism=False,
    ),
    Row(
        "MGMLlamaForCausalLM",
        "Mini-Gemini",
        REFUSED,
        note=LACKING + "a class with two vision towers of which one attends to the other.",
        mechanism=False,
    ),
    Row(
        "ShikraLlamaForCausalLM",
        "Shikra",
        REFUSED,
        note=LACKING + "a converter: it is LLaVA with one linear layer as projector.",
        mechanism=False,
    ),
    Row(
        "LlavaLlamaForCausalLM",
        "LLaVA-1.5, original layout",
        REFUSED,
        note="vLLM loads the converted checkpoints (`llava-hf/...`) alone; serve one of them.",
        mechanism=False,
    ),
)

MODELS: Mapping[str, Row] = {row.architecture: row for row in _ROWS}
"""Every row, by architecture."""

SUPPORTED_ARCHITECTURES = frozenset(row.architecture for row in _ROWS if row.mechanism)
"""Architectures that are loaded with EAH unless it is switched off."""


def row_of(architecture: str) -> Row:
    """Return an architecture's row; without one, that of a model which somebody tries with `any_model`."""
    untried = Row(architecture, "no row", UNTESTED, EMBEDDED, note=HOW_TO_TRY)
    return MODELS.get(architecture, untried)
