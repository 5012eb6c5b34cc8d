"""What SECURITY.md promises, asked of one real server over real sockets."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import random_image
from tests.unit.test_fetch import HTTPServer, send
from tools.serving import API_KEY, IN_ENGINE, SMALL, Server, image_message

LIMITS = {"body_bytes": 2_000_000, "image_pixels": 40_000, "request_pixels": 60_000}
ADDITIONAL = json.dumps({"eah": {"prefix_reuse": True}, "eah_http": LIMITS})
EAH = {"layer": 1, "relative_threshold": 1.5}
OTHER_EAH = {"layer": 0, "relative_threshold": 1.5}
OPEN = {"/health", "/ping", "/metrics", "/version", "/load"}
# Those that /openapi.json does not list.
HIDDEN = ["/openapi.json", "/docs", "/redoc", "/inference/v1/generate", "/collective_rpc", "/sleep", "/nothing", "/"]


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL, "--additional-config", ADDITIONAL]
    with Server(arguments, env=IN_ENGINE) as server:
        yield server


def request(
    server: Server, method: str, path: str, body: Any = None, key: str | None = API_KEY, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body. A body may be an iterator of chunks: then its length is not said."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, body, sent, encode_chunked=not isinstance(body, bytes | None))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read().decode()
    finally:
        connection.close()


def body(messages: Any, **more: Any) -> bytes:
    asked = {"model": "tiny", "messages": messages, "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    return json.dumps(asked | more).encode()


def ask(server: Server, messages: Any, **more: Any) -> dict[str, Any]:
    status, _, text = request(server, "POST", "/v1/chat/completions", body(messages, **more))
    assert status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def said(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def cached(answer: dict[str, Any]) -> int:
    details = answer["usage"].get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def refused(server: Server, messages: Any, path: str = "/v1/chat/completions", **more: Any) -> str:
    status, _, text = request(server, "POST", path, body(messages, **more))
    assert status == 400, text
    return text


# Keys, browsers


def test_every_path_but_probes_wants_the_key(server: Server) -> None:
    listed = json.loads(server.get("/openapi.json")[1])["paths"]
    assert {"/v1/eah", "/v1/chat/completions", "/invocations", "/tokenize", "/v1/responses/{response_id}"} <= set(
        listed
    )
    asked = [(method.upper(), path) for path, methods in listed.items() for method in methods]
    asked += [(method, path) for path in HIDDEN for method in ("GET", "POST")]
    for method, path in asked:
        status = request(server, method, path, b"{}" if method == "POST" else None, key=None)[0]
        assert (status == 401) == (path not in OPEN), f"{method} {path}: {status}"
    assert request(server, "GET", "/v1/eah", key="another")[0] == 401
    assert request(server, "GET", "/v1/eah", key="")[0] == 401
    for path in ("/docs", "/redoc", "/collective_rpc", "/sleep"):
        assert request(server, "GET", path)[0] == 404, f"{path} is there"


def test_other_origins_get_no_leave(server: Server) -> None:
    for method, headers in [("GET", {}), ("OPTIONS", {"Access_Control_Request_Method": "POST"})]:
        answered = request(server, method, "/v1/models", Origin="https://evil.example", **headers)[1]
        assert not [name for name in answered if name.startswith("access-control-allow-origin")]


def test_answers_are_no_pages(server: Server) -> None:
    """Headers for browsers belong to pages."""
    headers = request(server, "GET", "/v1/models")[1]
    assert headers["content-type"] == "application/json"
    assert not {"content-security-policy", "x-content-type-options", "referrer-policy"} & set(headers)


# Bodies


def test_bodies_over_the_limit(server: Server) -> None:
    chunk = b" " * 100_000
    for size, expected in [(15, 400), (25, 413)]:
        for sent in (chunk * size, iter([chunk] * size)):
            status, _, text = request(server, "POST", "/v1/chat/completions", sent)
            assert status == expected, text
            assert json.loads(text)["error"]["code"] == expected
    assert "2000000 bytes (eah_http.body_bytes)" in text


def test_a_body_of_very_many_values(server: Server) -> None:
    """Small, but long to parse."""
    sent = b'{"messages": [' + b"[]," * 600_000 + b"[]]}"
    assert len(sent) < LIMITS["body_bytes"]
    status, _, text = request(server, "POST", "/v1/chat/completions", sent)
    assert (status, "eah_http.body_items" in text) == (413, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "tiny", "messages": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model": "tiny", "messages": [], "eah": ' + b'{"layer":' * 400 + b"1" + b"}" * 401,
        b'{"model": "tiny", "messages": [], "vllm_xargs": {"a": ' + b"[" * 400 + b"]" * 400 + b"}}",
        b'{"model": "tiny", "messages": [], "max_tokens": ' + b"9" * 10_000 + b"}",
        b'{"model": "tiny", "messages": [], "temperature": NaN}',
        b'{"model": "tiny", "messages": [], "eah": {"threshold": Infinity}}',
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "a"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "eah": {"\\ud800": 1}}',
        b"\xff\xfe",
        b"",
    ],
)
def test_bodies_that_make_no_sense(server: Server, sent: bytes) -> None:
    status, _, text = request(server, "POST", "/v1/chat/completions", sent)
    assert 400 <= status < 500, text
    assert json.loads(text)["error"]["message"]


# Pictures


def image_part(url: str, **more: Any) -> list[Any]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}} | more]}]


def routes(url: str) -> list[tuple[str, bytes]]:
    """Every route that takes pictures, with a request that shows this one."""
    responses = [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}]
    source: dict[str, str] = {"type": "url", "url": url}
    if url.startswith("data:"):
        media_type, _, data = url.removeprefix("data:").partition(";base64,")
        source = {"type": "base64", "media_type": media_type, "data": data}
    anthropic = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    return [
        ("/v1/chat/completions", body(image_part(url))),
        ("/v1/chat/completions", body(image_part(url), stream=True)),
        ("/v1/chat/completions/batch", body([image_part(url)])),
        ("/v1/responses", json.dumps({"model": "tiny", "input": responses, "max_output_tokens": 2}).encode()),
        ("/v1/messages", body(anthropic)),
        ("/tokenize", json.dumps({"model": "tiny", "messages": image_part(url)}).encode()),
        ("/invocations", body(image_part(url))),
    ]


def test_no_route_fetches_a_url(server: Server) -> None:
    with HTTPServer(lambda handler: send(handler, b"")) as origin:
        url = f"http://127.0.0.1:{origin.port}/a.png"
        for path, sent in routes(url):
            status, _, text = request(server, "POST", path, sent)
            assert (status, "--allowed-media-domains" in text) == (400, True), f"{path}: {text}"
        assert origin.requests == []
    assert "--allowed-local-media-path" in refused(server, image_part("file:///etc/hostname"))


def test_every_route_reads_a_picture_without_a_type(server: Server) -> None:
    for media_type in ("image", "", "application/octet-stream", "image/png;charset=utf-8"):
        for path, sent in routes(png(20, 10).replace("image/png", media_type)):
            status, _, text = request(server, "POST", path, sent)
            assert status == 200, f"{path} {media_type!r}: {text}"
    for path, sent in routes(png(20, 10).replace("image/png", "text/html")):
        assert request(server, "POST", path, sent)[0] == 400, path


def png(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_pictures_are_limited_one_by_one_and_together(server: Server) -> None:
    assert ask(server, image_part(png(200, 200)))
    assert "more than 40000 pixels" in refused(server, image_part(png(201, 200)))
    assert "longer than 100 times" in refused(server, image_part(png(1, 101)))
    twice = image_part(png(200, 200)) + image_part(png(199, 200))
    assert "60000 pixels together" in refused(server, twice)
    assert ask(server, image_part(png(200, 200))), "the next request has a budget of its own"


def test_no_tensors_over_http(server: Server) -> None:
    pickled = base64.b64encode(b"\x80\x04N.").decode()
    for kind in ("image_embeds", "audio_embeds", "video_embeds"):
        refused(server, [{"role": "user", "content": [{"type": kind, kind: pickled}]}])
    assert "prompt_embeds" in refused(
        server, [{"role": "user", "content": [{"type": "prompt_embeds", "data": pickled}]}]
    )
    sent = json.dumps({"model": "tiny", "prompt": "a", "prompt_embeds": pickled}).encode()
    assert request(server, "POST", "/v1/completions", sent)[0] == 400
    refused(server, image_message(random_image(70)), mm_processor_kwargs={"size": {"shortest_edge": 5000}})
    refused(server, image_message(random_image(70)), media_io_kwargs={"image": {"image_mode": None}})


# Tenants


def test_tenants_share_no_cache_unless_their_salts_are_equal(server: Server) -> None:
    """Every pair of setting and salt starts cold, whatever was asked before; the same pair again is warm."""
    messages = image_message(random_image(71), "Is there a dog in the image? " * 4)
    pairs = [(eah, salt) for salt in (None, "tenant a", "tenant b") for eah in (None, EAH, OTHER_EAH)]

    def sent(eah: Any, salt: str | None) -> dict[str, Any]:
        more = {} if salt is None else {"cache_salt": salt}
        return ask(server, messages, **more, **({} if eah is None else {"eah": eah}))

    first = [sent(*pair) for pair in pairs]
    assert len({said(answer) for answer in first[:3]}) > 1, "EAH had no effect here"
    assert [cached(answer) for answer in first] == [0] * len(pairs)
    again = [sent(*pair) for pair in pairs]
    assert all(cached(answer) >= 32 for answer in again), [cached(answer) for answer in again]
    assert [said(answer) for answer in again] == [said(answer) for answer in first]


def test_a_salt_made_to_look_like_ours_meets_nobody(server: Server) -> None:
    """The engine's salt of an EAH request holds a random part when its blocks are ever read."""
    from eah_vllm.options import EAHOptions
    from eah_vllm.settings import ModelShape, resolve

    messages = image_message(random_image(72), "Is there a dog in the image? " * 4)
    fingerprint = resolve(EAHOptions(**EAH), EAHOptions(), ModelShape(5, 6)).fingerprint()
    forged = hashlib.sha256(f"{fingerprint}\n\n".encode()).hexdigest()
    assert cached(ask(server, messages, cache_salt=forged)) == 0
    first = ask(server, messages, eah=EAH)
    assert cached(first) == 0, "it read what the forger had written"
    assert cached(ask(server, messages, eah=EAH)) >= 32
    assert cached(ask(server, messages, cache_salt=forged)) >= 32, "the forger's own blocks"


def test_a_name_of_a_picture_leads_to_no_other_tenants_picture(server: Server) -> None:
    """vLLM's caches are keyed by the names that clients give, for all clients alike."""
    theirs, mine = (image_message(random_image(seed))[0]["content"][0]["image_url"]["url"] for seed in (73, 74))
    expected = said(ask(server, image_part(mine)))
    assert said(ask(server, image_part(theirs))) != expected, "the two pictures must differ in their answers"

    def both(path: str) -> str:
        """What tenant b gets for its picture, after tenant a has given another one the same name."""
        for url, salt in [(theirs, "tenant a"), (mine, "tenant b")]:
            sent = body(image_part(url, uuid=f"cat {path}"), cache_salt=salt)
            status, _, text = request(server, "POST", path, sent)
            assert status == 200, text
        return said(json.loads(text))

    assert both("/invocations") != expected, "vLLM's own route, where names are not bound: what this test is about"
    assert both("/v1/chat/completions") == expected, "tenant b was answered from tenant a's picture"
