"""Compares what a user has today, the published code with one request at a time, with our server at concurrency 16."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image
from vllm.benchmarks.datasets import SampleRequest

from bench.children import Child, wait_until_idle
from bench.load import run_load, switched
from bench.results import Part, say
from bench.servers import DEV_MODE, applied, check_applied
from bench.serving import scenes
from eah_vllm.scenes import MODEL_PATH
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import image_prompt
from eah_vllm.scenes.world import split_scenes
from tools.serving import Server

CONCURRENCY = 16
OUTPUT_LEN = 48
"""Tokens of an answer: about the length of a caption of this model."""


def _request(image: Image.Image, tokens: int) -> SampleRequest:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    return SampleRequest(prompt=CAPTION_REQUEST, prompt_len=0, expected_output_len=tokens, multi_modal_data=content)


def measure(rounds: int, part: Part, *, number: int, tokens: int = OUTPUT_LEN) -> None:
    """Measure rounds of `number` unseen scenes, the same ones for both."""
    eah = json.loads((MODEL_PATH / "config.json").read_text())["eah"]
    images = [scene.pil() for scene in split_scenes("test", number * (rounds + 1))]
    workload = scenes(quick=False)
    with Server(workload.arguments, env=DEV_MODE) as server, Child("bench.published_hf") as published:
        published.call("start", str(MODEL_PATH), eah["layer"], eah["relative_threshold"])
        for round_idx in range(-1, rounds):
            some = images[(round_idx + 1) * number : (round_idx + 2) * number]
            server.empty_caches()
            wait_until_idle(server.pid, published.pid)
            passed, broadcasts = published.call("answers", some, image_prompt(CAPTION_REQUEST), tokens)
            if not broadcasts:
                raise RuntimeError("the published loop broadcast nothing")
            before = applied(server)
            requests = switched([_request(image, tokens) for image in some], "on")
            ours = run_load(server, workload.model, workload.name, requests, CONCURRENCY)
            check_applied(server, before, number)
            rate = ours["requests_per_second"]
            say(f"published round {round_idx + 1} of {rounds}: {number / passed:.2f} requests/s, our server {rate:.2f}")
            if round_idx >= 0:
                row = {"published": {"requests_per_second": number / passed, "broadcasts": broadcasts}, "on": ours}
                part.add_round("scenes_c16", row)
    part.facts |= {"requests": number, "output_len": tokens}
    for name in ("published", "on"):
        part.figure(f"{name}_requests_per_second", "scenes_c16", lambda row, n=name: row[n]["requests_per_second"])
    part.figure(
        "on_over_published_c16",
        "scenes_c16",
        lambda row: row["on"]["requests_per_second"] / row["published"]["requests_per_second"],
    )
