"""The table of models that EAH is applied to, one row for each architecture; `docs/models.md` is made from it."""

from collections.abc import Mapping
from typing import Any

from eah_vllm.model_row import (
    ALL,
    LINES,
    MERGED,
    REFUSED,
    RELATIVE,
    SQUARE,
    TESTED,
    TILES,
    UNTESTED,
    VIDEO,
    WITH_NEWLINES,
    Row,
)

HOW_TO_TRY = (
    """It has no row in docs/models.md; --additional-config '{"eah": {"any_model": true}}' applies the same """
    "mechanism, untested."
)

EMBEDDED = "those of the placeholder that carry an embedding; text tokens between them do not count"
NEWLINES = "the whole placeholder, with the newline embeddings that the model puts among the tiles"
BOTH_WAYS = "Image tokens attend both ways, and the method is defined on causal maps, so every layer declines."
HYBRID = (
    "Three of four layers are linear attention and decline; layer 3 is the first with attention. With prefix caching "
    "vLLM splits such models' prompts at its blocks, and EAH answers `prompt_split`: `--no-enable-prefix-caching`. On "
    "CPUs vLLM computes these layers in bfloat16 only, so there is no exact comparison with the reference."
)
LACKING = "vLLM has no such model. It would take "
WITH_CODE = (
    "Needs `--trust-remote-code`: the checkpoint brings classes along. For the test these were written after the "
    "public ones, which have not been run here. "
)
FROM_PARTS = "transformers has no class of this model: the reference is put together from its parts. "

FROM_LAYER_3: dict[str, Any] = RELATIVE | {"layer": 3}


def _not_loaded(architecture: str, family: str, note: str) -> Row:
    """Return the row of a model that is never loaded with EAH."""
    return Row(architecture, family, REFUSED, note=note, mechanism=False)


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
    Row("Qwen3VLMoeForConditionalGeneration", "Qwen3-VL, mixture of experts", TESTED, EMBEDDED, VIDEO, grid=MERGED),
    Row("Glm4vForConditionalGeneration", "GLM-4.1V, GLM-4.6V-Flash", TESTED, EMBEDDED, VIDEO, grid=MERGED),
    Row("InternVLForConditionalGeneration", "InternVL3, native", TESTED, EMBEDDED, VIDEO, grid=TILES),
    Row("Idefics3ForConditionalGeneration", "Idefics3", TESTED, EMBEDDED, grid=TILES),
    Row(
        "SmolVLMForConditionalGeneration",
        "SmolVLM",
        TESTED,
        EMBEDDED,
        note="Its processor needs the package num2words.",
        grid=TILES,
    ),
    Row("Mistral3ForConditionalGeneration", "Mistral Small 3.1 and later", TESTED, EMBEDDED, grid=LINES),
    Row(
        "Cohere2VisionForConditionalGeneration",
        "Command A Vision",
        TESTED,
        EMBEDDED,
        start=FROM_LAYER_3,
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
    Row(
        "Qwen3_5ForConditionalGeneration",
        "Qwen3.5",
        UNTESTED,
        EMBEDDED,
        VIDEO,
        start=FROM_LAYER_3,
        note=HYBRID,
        grid=MERGED,
    ),
    Row(
        "MiniCPMV4_6ForConditionalGeneration",
        "MiniCPM-V 4.6",
        UNTESTED,
        EMBEDDED,
        VIDEO,
        start=FROM_LAYER_3,
        note=HYBRID,
    ),
    Row(
        "Qwen3_5MoeForConditionalGeneration",
        "Qwen3.5, mixture of experts",
        UNTESTED,
        EMBEDDED,
        start=FROM_LAYER_3,
        note=HYBRID,
        grid=MERGED,
    ),
    Row("Glm4vMoeForConditionalGeneration", "GLM-4.5V, GLM-4.6V", UNTESTED, EMBEDDED, grid=MERGED),
    Row(
        "InternVLChatModel",
        "InternVL, original layout",
        TESTED,
        EMBEDDED,
        VIDEO,
        note=WITH_CODE + "The reference is transformers' InternVL with the weights renamed, and Qwen2 inside.",
        grid=TILES,
    ),
    Row("PixtralForConditionalGeneration", "Pixtral, Mistral's own layout", UNTESTED, EMBEDDED),
    Row(
        "MiniCPMV",
        "MiniCPM-V 4.5 (2.0 to 4.0: untested)",
        TESTED,
        EMBEDDED,
        VIDEO,
        note=WITH_CODE + FROM_PARTS + "Version 4.5 was compared. By version vLLM's class makes a model of another "
        "class, which gets EAH. The others have not been compared: the resampler of 2.5, 2.6 and 4.0 asks for CUDA in "
        "vLLM 0.32, so they run on no CPU, and 2.0 needs the package timm.",
    ),
    Row(
        "Ovis2_5",
        "Ovis2.5",
        TESTED,
        "the whole placeholder, with the indicator embeddings before and after the picture's",
        VIDEO,
        note=WITH_CODE + FROM_PARTS.strip(),
    ),
    Row("Gemma3ForConditionalGeneration", "Gemma 3", REFUSED, EMBEDDED, note=BOTH_WAYS),
    Row("PaliGemmaForConditionalGeneration", "PaliGemma", REFUSED, note=BOTH_WAYS),
    Row("Molmo2ForConditionalGeneration", "Molmo 2", REFUSED, EMBEDDED, note=BOTH_WAYS),
    _not_loaded("KimiVLForConditionalGeneration", "Kimi-VL", "Latent attention (MLA) keeps no separate heads."),
    _not_loaded(
        "InstructBlipForConditionalGeneration",
        "InstructBLIP",
        LACKING + "a class like its BLIP-2, with a Q-Former that also reads the question. Published (VHR, "
        "arXiv 2412.13949): no gain, CHAIRs 45.3 without and 46.4 with EAH.",
    ),
    _not_loaded(
        "MiniGPT4",
        "MiniGPT-4",
        LACKING + "a class like its BLIP-2 with the picture inside the prompt (BLIP-2's stands at the start), and a "
        "converter: the checkpoint is one projection, beside BLIP-2's vision tower and Q-Former, and Vicuna.",
    ),
    _not_loaded(
        "MGMLlamaForCausalLM",
        "Mini-Gemini",
        LACKING + "a class with two vision towers, CLIP and ConvNeXt, in which CLIP's tokens attend to ConvNeXt's.",
    ),
    _not_loaded(
        "ShikraLlamaForCausalLM",
        "Shikra",
        "vLLM has no such model. `eah-vllm convert shikra SRC DST --base LLAMA` makes LLaVA-1.5 of it, whose row then "
        "holds; public checkpoints are differences to LLaMA-7B.",
    ),
    _not_loaded(
        "LlavaLlamaForCausalLM",
        "LLaVA-1.5, original layout",
        "vLLM loads the converted checkpoints (`llava-hf/...`) alone: serve one of them, or "
        "`eah-vllm convert llava SRC DST`.",
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
