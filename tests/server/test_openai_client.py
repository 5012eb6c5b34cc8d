"""A real server, a real `openai` client, a checkpoint the project has never seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer

from tests.checkpoints import random_image
from tests.engine.driver import ROOT
from tests.reference import reference_generate
from tools.serving import SMALL, Server, image_message

EAH = {"layer": 1, "relative_threshold": 1.5}
CHAT_PROMPT = "USER: <image>\nPlease describe this image in detail. ASSISTANT:"
IMAGE = random_image(2)  # tokens differ between EAH off, EAH and the paper's settings
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    with Server([str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL]) as server:
        yield server


def chat(server: Server, eah: Any = None, *, model: str = "tiny", **more: Any) -> Any:
    body = {"ignore_eos": True} | ({} if eah is None else {"eah": eah}) | more.pop("extra_body", {})
    messages = more.pop("messages", None) or image_message(IMAGE)
    return server.client.chat.completions.create(model=model, messages=messages, extra_body=body, **(GREEDY | more))


def text(response: Any) -> str:
    return str(response.choices[0].message.content)


@pytest.mark.parametrize("eah", [None, EAH], ids=["off", "on"])
def test_answers_as_the_hugging_face_reference(
    server: Server, unusual_checkpoint: Path, eah: dict[str, Any] | None
) -> None:
    expected = reference_generate(unusual_checkpoint, CHAT_PROMPT, [IMAGE], eah)
    response = chat(server, eah, logprobs=True, top_logprobs=20, extra_body={"return_token_ids": True})
    assert list(response.choices[0].token_ids) == expected.tokens
    first = response.choices[0].logprobs.content[0]
    assert first.logprob == pytest.approx(float(expected.first_token_logprobs[expected.tokens[0]]), abs=1e-3)


def test_report_says_what_the_reference_did(server: Server, unusual_checkpoint: Path) -> None:
    (layer,) = reference_generate(unusual_checkpoint, CHAT_PROMPT, [IMAGE], EAH).report
    response = chat(server, EAH | {"report": True})
    assert response.eah == {
        "applied": True,
        "reason": None,
        "layers": [
            {
                "layer": 1,
                "head": layer.head,
                "sinks": layer.sinks,
                "image_tokens": 36,
                "density": pytest.approx(layer.density),
            }
        ],
    }
    assert not hasattr(chat(server, EAH), "eah"), "a report that nobody asked for"


def test_eah_true_and_the_alias_use_the_server_defaults(server: Server) -> None:
    listed = [model.id for model in server.client.models.list()]
    assert listed == ["tiny", "tiny:eah", "tiny:verify", "tiny:eah+verify"]
    off, on = text(chat(server)), text(chat(server, True))
    assert off != on, "EAH had no effect here"
    assert text(chat(server, model="tiny:eah")) == on
    assert text(chat(server, False, model="tiny:eah")) == off
    assert text(chat(server, EAH, model="tiny:eah")) == text(chat(server, EAH))
    assert chat(server, {"report": True}).eah["layers"][0]["layer"] == 1


def test_streaming_ends_with_the_report(server: Server) -> None:
    whole = chat(server, EAH | {"report": True})
    for usage in (False, True):
        chunks = list(chat(server, EAH | {"report": True}, stream=True, stream_options={"include_usage": usage}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text(whole)
        assert [hasattr(chunk, "eah") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].eah == whole.eah


def test_the_stream_helper_of_the_sdk_loses_the_report_and_the_printed_lines_read_it(server: Server) -> None:
    """The helper builds its final completion from the fields that it knows; each chunk still has all of them."""
    whole = chat(server, EAH | {"report": True})
    assert whole.eah["applied"]
    asked: dict[str, Any] = {"messages": image_message(IMAGE), "extra_body": {"eah": EAH | {"report": True}}, **GREEDY}
    asked |= {"model": "tiny", "stop": [text(whole)[-1]]}  # the helper takes no answer that ends at `max_tokens`
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    printed = re.search(r"```python\n(with client\.chat\.completions\.stream\(.*?)```", page, re.DOTALL)
    assert printed
    assert "**asked" in printed[1]
    read: dict[str, Any] = {"client": server.client, "asked": asked}
    exec(printed[1], read)
    assert read["report"] == whole.eah
    assert not hasattr(read["completion"], "eah"), "the helper keeps the report: docs/operations.md may say so"


def test_completions_report_why_not(server: Server) -> None:
    """A text prompt has no image to look at."""
    asked: dict[str, Any] = {"model": "tiny", "prompt": "USER: Is there a dog?", **GREEDY}
    plain = server.client.completions.create(**asked)
    for stream in (False, True):
        flat = {"vllm_xargs": {"eah": 1, "eah_report": 1}}
        response = server.client.completions.create(**asked, stream=stream, extra_body=flat)
        last = list(response)[-1] if stream else response
        assert last.eah == {"applied": False, "reason": "no_image", "layers": []}
        assert stream or response.choices[0].text == plain.choices[0].text


def test_responses(server: Server, unusual_checkpoint: Path) -> None:
    part = image_message(IMAGE)[0]["content"][0]["image_url"]["url"]
    content = [
        {"type": "input_image", "image_url": part, "detail": "auto"},
        {"type": "input_text", "text": "Please describe this image in detail."},
    ]
    asked: dict[str, Any] = {"model": "tiny", "input": [{"role": "user", "content": content}]}
    asked |= {"temperature": 0, "max_output_tokens": 12}
    body = {"extra_body": {"eah": EAH | {"report": True}}}
    # vLLM tokenises the chat template's output with special tokens here: two of them at the start.
    expected = reference_generate(unusual_checkpoint, "<s>" + CHAT_PROMPT, [IMAGE], EAH)
    response = server.client.responses.create(**asked, **body)
    assert response.output_text == AutoTokenizer.from_pretrained(unusual_checkpoint).decode(expected.tokens)
    assert (response.eah["applied"], response.eah["layers"][0]["head"]) == (True, expected.report[0].head)
    last = list(server.client.responses.create(**asked, **body, stream=True))[-1]
    assert last.response.eah == response.eah
    assert server.client.responses.create(**asked).output_text != response.output_text, "EAH had no effect here"


def test_two_choices_and_a_system_message(server: Server) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *image_message(IMAGE)]
    response = chat(server, EAH | {"report": True}, messages=messages, n=2, temperature=1e-4)
    assert response.choices[0].message.content == response.choices[1].message.content
    assert response.eah["applied"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"eah": "yes"}, "eah"),
        ({"eah": 1}, "eah"),
        ({"eah": {"layr": 1}}, "eah.layr"),
        ({"eah": {"layer": 5}}, "eah.layer"),
        ({"eah": {"layer": []}}, "eah.layer"),
        ({"eah": {"layer": True}}, "eah.layer"),
        ({"eah": {"head": 6}}, "eah.head"),
        ({"eah": {"head": "best"}}, "eah.head"),
        ({"eah": {"threshold": 0}}, "eah.threshold"),
        ({"eah": {"threshold": 1}}, "eah.threshold"),
        ({"eah": {"relative_threshold": -1}}, "eah.relative_threshold"),
        ({"eah": {"threshold": 0.1, "relative_threshold": 1}}, "eah.relative_threshold"),
        ({"eah": {"min_density": 1.5}}, "eah.min_density"),
        ({"eah": {"preset": "theirs"}}, "eah.preset"),
        ({"eah": {"report": "loud"}}, "eah.report"),
        ({"eah": True, "use_beam_search": True}, "use_beam_search"),
        ({"eah": True, "vllm_xargs": {"eah": 1}}, "vllm_xargs"),
        ({"vllm_xargs": {"eah": 1, "eah_layer": 99}}, "eah"),
        ({"vllm_xargs": {"eah_layer": 1}}, "eah_layer"),
    ],
)
def test_impossible_options_are_refused_by_name(server: Server, body: dict[str, Any], named: str) -> None:
    before = server.counter("eah_requests_total", outcome="refused")
    with pytest.raises(openai.BadRequestError) as refused:
        chat(server, extra_body=body)
    assert refused.value.status_code == 400
    assert named in refused.value.message
    assert server.counter("eah_requests_total", outcome="refused") == before + 1


def test_the_batch_route_refuses_eah_instead_of_ignoring_it(server: Server) -> None:
    path, messages = "/v1/chat/completions/batch", [{"role": "user", "content": "Is there a dog?"}]
    body: dict[str, Any] = {"model": "tiny", "max_tokens": 4, "messages": [messages]}
    assert server.post(path, body)[0] == 200
    status, answer = server.post(path, body | {"eah": True})
    assert status == 400
    assert "eah: this route takes no eah" in answer
    assert server.post(path, body | {"model": "tiny:eah"})[0] == 404


def test_prefix_cache_over_http(server: Server) -> None:
    """Plain traffic keeps its cache, EAH traffic neither reads nor feeds it; by typed field and by plain vllm_xargs."""
    messages = image_message(random_image(55), "Is there a dog in the image? " * 4)

    def cached(eah: Any = None, **body: Any) -> int:
        usage = chat(server, eah, messages=messages, extra_body=body).usage
        return int(usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0)

    assert cached(EAH) == 0
    assert cached() == 0, "a plain request read blocks that an EAH request wrote"
    assert cached() >= 32, "plain traffic must keep its prefix cache"
    assert cached(EAH) == 0
    assert cached(vllm_xargs={"eah": 1, "eah_layer": 0}) == 0
    assert cached() >= 32


def test_metrics_and_capabilities(server: Server) -> None:
    chat(server, EAH | {"report": True})  # a report brings every count that is due
    before = server.counter("eah_requests_total", outcome="applied")
    head = chat(server, EAH | {"report": True}).eah["layers"][0]["head"]
    assert server.counter("eah_requests_total", outcome="applied") == before + 1
    chat(server, EAH)
    server.wait_for_counter(before + 2, "eah_requests_total", outcome="applied")
    assert server.counter("eah_source_heads_total", head=str(head), layer="1") > 0
    described = json.loads(server.get("/v1/eah")[1])
    assert (described["supported"], described["num_layers"], described["num_heads"]) == (True, 5, 6)
    assert described["limits"]["seed"] == [0, 2**32 - 1]
    assert "random" in described["options"]["seed"]["description"]
    assert described["aliases"] == ["tiny:eah", "tiny:verify", "tiny:eah+verify"]
    assert described["defaults"]["layer"] == 1
    facts = {"any_model": False, "chunked_prefill": True, "max_whole_prompt": 512, "prefix_reuse": False}
    assert described["engine"] == facts | {"methods": ["eah"]}
    assert described["runner"] == "V1"


def test_every_route_wants_the_api_key(server: Server) -> None:
    for path in ("/v1/eah", "/v1/models"):
        assert server.get(path, key=None)[0] == 401
        assert server.get(path)[0] == 200


def test_disconnect_leaves_no_state(server: Server) -> None:
    stream = chat(server, EAH | {"report": True}, stream=True, max_tokens=400)
    next(iter(stream))
    stream.close()
    server.wait_for_counter(0, "vllm:num_requests_running", engine="0", model_name="tiny")
    assert chat(server, EAH | {"report": True}).eah["applied"], "the server must live on"
