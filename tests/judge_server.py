"""A judge that looks: an HTTP server that speaks the OpenAI protocol and scores captions by what the scene shows."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image

from eah_vllm.scenes.benchmark import MENTION
from eah_vllm.scenes.world import Scene

Rule = Callable[[Scene, str, str], str]
"""What the judge says of a scene and its first and second description."""


def truthful(scene: Scene, first: str, second: str) -> str:
    """Correctness: share of the named objects that are there; detail: share of the objects that are named."""
    scored = [score(scene, text) for text in (first, second)]
    return "\n".join(f"{name}: {scored[0][i]} {scored[1][i]}" for i, name in enumerate(("Correctness", "Detail")))


def score(scene: Scene, caption: str) -> tuple[float, float]:
    named = {match["name"] for match in MENTION.finditer(caption)}
    right = named & scene.names
    return round(10 * len(right) / max(1, len(named)), 2), round(10 * len(right) / len(scene.names), 2)


class JudgeServer:
    """Use as a context manager. It knows the scenes by their pixels and answers by its rule.

    Attributes:
        asked: (scene, first, second) of every request.
    """

    def __init__(self, scenes: Iterable[Scene], rule: Rule = truthful) -> None:
        by_pixels = {scene.pil().convert("RGB").tobytes(): scene for scene in scenes}
        self.asked: list[tuple[Scene, str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                parts = {part["type"]: part for part in body["messages"][0]["content"]}
                picture = base64.b64decode(parts["image_url"]["image_url"]["url"].partition(",")[2])
                scene = by_pixels[Image.open(io.BytesIO(picture)).convert("RGB").tobytes()]
                first, second = re.findall(
                    r"^\[Description \d\]\n(.*?)\n\[End of description \d\]$", parts["text"]["text"], re.S | re.M
                )
                asked.append((scene, first, second))
                self._send({"role": "assistant", "content": rule(scene, first, second)}, body["model"])

            def _send(self, message: dict[str, Any], model: str) -> None:
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                reply = {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
