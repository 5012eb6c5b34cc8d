"""The families whose rows of `eah_vllm/models.py` may say `tested here`."""

from tests.models.family import Family
from tests.models.internvl_chat import INTERNVL_CHAT
from tests.models.llava_families import LLAVA, NEXT_MISTRAL, NEXT_VICUNA, ONEVISION
from tests.models.minicpmv import MINICPMV45
from tests.models.other_families import BLIP2, COHERE2, GEMMA3, MINICPMV, PALIGEMMA
from tests.models.ovis25 import OVIS25
from tests.models.qwen_families import GLM4V, QWEN2_VL, QWEN3_VL, QWEN3_VL_MOE, QWEN25_VL, QWEN35
from tests.models.tile_families import IDEFICS3, INTERNVL, MISTRAL3, SMOLVLM

FAMILIES: dict[str, Family] = {
    "LLaVA-1.5": LLAVA,
    "LLaVA-NeXT, Vicuna": NEXT_VICUNA,
    "LLaVA-NeXT, Mistral": NEXT_MISTRAL,
    "LLaVA-OneVision": ONEVISION,
    "Qwen2-VL": QWEN2_VL,
    "Qwen2.5-VL": QWEN25_VL,
    "Qwen3-VL": QWEN3_VL,
    "Qwen3-VL, experts": QWEN3_VL_MOE,
    "GLM-4.1V": GLM4V,
    "InternVL": INTERNVL,
    "InternVL, original": INTERNVL_CHAT,
    "Idefics3": IDEFICS3,
    "SmolVLM": SMOLVLM,
    "Mistral 3": MISTRAL3,
    "Command A Vision": COHERE2,
    "BLIP-2": BLIP2,
    "MiniCPM-V 4.5": MINICPMV45,
    "Ovis2.5": OVIS25,
}
REFUSED: dict[str, Family] = {"Gemma 3": GEMMA3, "PaliGemma": PALIGEMMA}
"""Families of which EAH can change no layer."""
HYBRID: dict[str, Family] = {"Qwen3.5": QWEN35, "MiniCPM-V 4.6": MINICPMV}
"""Families with linear attention in some layers, which vLLM computes on CPUs in bfloat16 only."""
