"""What a measurement was made on: commit, machine, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from tools import ROOT


def commit(written: Collection[str] = ()) -> str:
    """Return the commit that is checked out, with "+dirty" where files other than those in `written` differ from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    return head + ("+dirty" if set(changed) - set(written) else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()


def machine() -> dict[str, Any]:
    """Return processor, memory, threads, and how busy the machine was in the last minute."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "bfloat16_instructions": "avx512_bf16" in flags or "amx_bf16" in flags,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of everything whose speed is measured."""
    found = {name: version(name) for name in ("torch", "transformers", "eah-vllm")}
    import vllm

    return {"python": platform.python_version(), "vllm": vllm.__version__} | found
