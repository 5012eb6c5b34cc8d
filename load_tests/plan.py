"""The plan of a run: for each request its scene, its question, how it asks for EAH, and when its client gives up."""

from __future__ import annotations

import base64
import dataclasses
import io
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eah_vllm.evaluation.tasks.scenes import ANSWER_TOKENS, CAPTION_TOKENS
from eah_vllm.scenes.captions import CAPTION_REQUEST, presence_question
from eah_vllm.scenes.vocabulary import NAMES
from eah_vllm.scenes.world import Scene
from load_tests.scenario import Traffic

CAPTION, QUESTION = "caption", "question"
WAYS = ("field", "alias", "xargs")
HANG_UPS = (0, 0, 1, 3, 8)
"""Numbers of events with tokens after which a client goes away; 0 means before the first one."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One planned request."""

    scene: int
    """Index of the scene in the pool."""
    kind: str
    eah: bool
    way: str = "field"
    stream: bool = True
    hang_up: int | None = None
    verify: bool = False

    @property
    def rewritten(self) -> bool:
        """Whether what the model denies leaves the text; a stream is sent as it comes, so it is only reported on."""
        return self.verify and not self.stream


def make_plan(traffic: Traffic, seed: int = 0) -> list[Ask]:
    """Plan all requests of a run, or of a step of a sweep, in the order in which they are sent."""
    rng = random.Random(seed)
    asks = []
    for idx in range(traffic.requests):
        eah = traffic.mix == "on" or (traffic.mix == "half" and idx % 2 == 1)
        # With an even number of scenes, idx % images alone would give each scene always the same half of the mix.
        scene = (idx + (idx // traffic.images if traffic.mix == "half" else 0)) % traffic.images
        way = rng.choice(WAYS) if traffic.way == "each" else traffic.way
        kind = QUESTION if rng.random() < traffic.questions else CAPTION
        stream = rng.random() >= traffic.whole
        leaves = stream and rng.random() < traffic.hang_ups
        verify = traffic.verified > 0 and kind == CAPTION and rng.random() < traffic.verified
        asks.append(Ask(scene, kind, eah, way, stream, rng.choice(HANG_UPS) if leaves else None, verify))
    return asks


def fields(ask: Ask, model: str, *, report: bool) -> dict[str, Any]:
    """Return the body fields by which a request asks for EAH and for a check or not, among them the model's name."""
    if ask.verify:
        checked = {"verify": {"action": "rewrite" if ask.rewritten else "report"}}
        return checked | fields(dataclasses.replace(ask, verify=False), model, report=report)
    if not ask.eah:
        return {"model": model}
    if ask.way == "xargs":
        return {"model": model, "vllm_xargs": {"eah": 1} | ({"eah_report": 1} if report else {})}
    options: Any = {"report": True} if report else True
    if ask.way == "alias":
        return {"model": f"{model}:eah"} | ({"eah": options} if report else {})
    return {"model": model, "eah": options}


def question(scene: Scene, kind: str) -> tuple[str, int]:
    """Return the text of the request about a scene, and how many tokens the answer may have."""
    if kind == CAPTION:
        return CAPTION_REQUEST, CAPTION_TOKENS
    name = random.Random(scene.seed).choice(NAMES)
    return presence_question(name, name in scene.names).text, ANSWER_TOKENS


def messages(scene: Scene, kind: str) -> list[dict[str, Any]]:
    """Return the chat messages of a request."""
    content = [
        {"type": "image_url", "image_url": {"url": image_url(scene)}},
        {"type": "text", "text": question(scene, kind)[0]},
    ]
    return [{"role": "user", "content": content}]


@lru_cache(maxsize=1024)
def image_url(scene: Scene) -> str:
    """Return the picture of a scene as a PNG file in a data URL."""
    buffer = io.BytesIO()
    scene.pil().save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def body(ask: Ask, scene: Scene, model: str, *, report: bool = True) -> dict[str, Any]:
    """Return a whole request body, except for a `cache_salt`."""
    asked = {
        "messages": messages(scene, ask.kind),
        "max_tokens": question(scene, ask.kind)[1],
        "temperature": 0,
    }
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if ask.stream else {}
    return fields(ask, model, report=report) | asked | streamed
