"""What the server's check of answers (`verify`) needs to know of the built-in model: its objects and its question.

It lies as `verify.json` in the checkpoint's folder, where vLLM does not look.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eah_vllm.scenes.captions import presence_question
from eah_vllm.scenes.vocabulary import NAMES

FILE = "verify.json"
THRESHOLD = 0.4
"""P(yes) below it is denied. It was chosen on 1,200 validation scenes (`docs/results.md`)."""


def verify_defaults() -> dict[str, Any]:
    """Return the defaults: the world has one word for each object, and the question is the one that was trained."""
    return {"objects": list(NAMES), "question": presence_question("{object}", True).text, "threshold": THRESHOLD}


def save_verify_defaults(checkpoint: Path) -> None:
    """Write the defaults into a checkpoint's folder."""
    (checkpoint / FILE).write_text(json.dumps(verify_defaults(), indent=2) + "\n", encoding="utf-8")
