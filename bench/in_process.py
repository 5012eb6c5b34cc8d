"""The built-in model in an engine of one process, without HTTP, and prompts about pictures of noise for it.

Whoever uses it imports it before vLLM, which reads the environment when it is imported.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
AT_A_TIME, SIDE = 16, 96


def engine(**options: Any) -> Any:
    """Start the engine, for at most `AT_A_TIME` requests at once."""
    from vllm import LLM

    from eah_vllm.scenes import MODEL_PATH

    return LLM(
        str(MODEL_PATH),
        dtype="float32",
        max_model_len=512,
        max_num_seqs=AT_A_TIME,
        kv_cache_memory_bytes=1 << 28,
        enforce_eager=True,
        disable_log_stats=True,
        **options,
    )


def noise_prompts(number: int, seed: int, question: str) -> list[dict[str, Any]]:
    """Make prompts that ask a question, each about a picture that no other seed has."""
    rng = np.random.default_rng(seed)
    return [
        {
            "prompt": f"USER: <image>\n{question} ASSISTANT:",
            "multi_modal_data": {"image": Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))},
        }
        for _ in range(number)
    ]
