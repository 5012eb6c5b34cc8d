"""A second method, in one file of another package: options, names, isolation, reports and metrics follow from it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from torch import Tensor

from tests.checkpoints import random_image
from tests.engine.driver import ROOT
from tests.reference import ReferenceOutput, load_reference, reference_generate
from tools.serving import IN_ENGINE, SMALL, Server, image_message

PROMPT = "USER: <image>\nPlease describe this image in detail. ASSISTANT:"
IMAGE = random_image(2)
SCALED = {"layer": 2, "head": 3, "factor": -4.0}
EAH = {"layer": 1, "relative_threshold": 1.5}
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server beside which a package is installed that has nothing but this method and its entry point."""
    packages = tmp_path_factory.mktemp("packages")
    installed = packages / "scaled_head-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: scaled-head\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[vllm.general_plugins]\nscaled = tests.methods.scaled_head:register\n")
    path = os.pathsep.join([str(packages), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    defaults = json.dumps({"scaled": {"layer": 2}})
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL, "--additional-config", defaults]
    with Server(arguments, env={"PYTHONPATH": path} | IN_ENGINE) as server:
        yield server


def ask(server: Server, *, model: str = "tiny", **fields: Any) -> Any:
    body = {"ignore_eos": True, "return_token_ids": True} | fields
    return server.client.chat.completions.create(
        model=model, messages=image_message(IMAGE), logprobs=True, extra_body=body, **GREEDY
    )


def tokens(response: Any) -> list[int]:
    return list(response.choices[0].token_ids)


def reference(path: Path) -> ReferenceOutput:
    """Hugging Face's model, whose head is scaled where the prompt is computed."""
    model, _ = load_reference(str(path))
    attention = model.model.language_model.layers[SCALED["layer"]].self_attn

    def scale(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (heads,) = inputs
        if heads.shape[1] > 1:  # the prompt; afterwards there is one token at a time
            heads = heads.clone()
            size = attention.head_dim
            heads[..., SCALED["head"] * size : (SCALED["head"] + 1) * size] *= SCALED["factor"]
        return (heads,)

    hook = attention.o_proj.register_forward_pre_hook(scale)
    try:
        return reference_generate(path, PROMPT, [IMAGE])
    finally:
        hook.remove()


def test_it_does_what_a_reference_does(server: Server, unusual_checkpoint: Path) -> None:
    expected, plain = reference(unusual_checkpoint), reference_generate(unusual_checkpoint, PROMPT, [IMAGE])
    assert expected.tokens != plain.tokens, "it changes nothing"
    response = ask(server, scaled=SCALED)
    assert tokens(response) == expected.tokens
    first = response.choices[0].logprobs.content[0]
    assert first.logprob == pytest.approx(float(expected.first_token_logprobs[expected.tokens[0]]), abs=1e-3)


def test_every_way_to_switch_it_on(server: Server) -> None:
    expected = tokens(ask(server, scaled=SCALED))
    flat = {"scaled": 1, "scaled_head": 3, "scaled_factor": "-4.0"}  # the layer is the server's default
    assert tokens(ask(server, vllm_xargs=flat)) == expected
    assert tokens(ask(server, model="tiny:scaled")) == tokens(ask(server, scaled=True)) != expected
    assert tokens(ask(server, model="tiny:scaled", scaled=False)) == tokens(ask(server))
    both = [tokens(ask(server, **way)) for way in ({"eah": True, "scaled": True}, {"model": "tiny:eah+scaled"})]
    assert both[0] == both[1]
    assert tokens(ask(server, model="tiny:scaled+eah", scaled=False)) == tokens(ask(server, eah=True)) != both[0]
    modes = ["eah", "scaled", "verify", "eah+scaled", "eah+verify", "scaled+verify", "eah+scaled+verify"]
    assert [model.id for model in server.client.models.list().data] == ["tiny", *(f"tiny:{mode}" for mode in modes)]


def test_two_methods_have_two_reports(server: Server) -> None:
    eah, scaled = ask(server, eah=EAH | {"report": True}).eah, ask(server, scaled=SCALED | {"report": True}).scaled
    both = {"eah": EAH | {"report": True}, "scaled": SCALED | {"report": True}}
    response = ask(server, **both)
    assert (response.eah, response.scaled["layers"]) == (eah, scaled["layers"])
    *_, last = server.client.chat.completions.create(
        model="tiny", messages=image_message(IMAGE), stream=True, extra_body={"ignore_eos": True} | both, **GREEDY
    )
    assert (last.model_extra or {}).keys() >= {"eah", "scaled"}
    half = ask(server, eah=EAH, scaled=SCALED | {"report": True})
    assert half.scaled["applied"]
    assert not hasattr(half, "eah")


def test_its_report_is_its_own(server: Server) -> None:
    layer = {"layer": 2, "head": 3, "factor": -4.0}
    expected = {"applied": True, "reason": None, "layers": [layer]}
    response = ask(server, scaled=SCALED | {"report": True})
    assert response.scaled == expected
    assert not hasattr(response, "eah")
    stream = server.client.chat.completions.create(
        model="tiny", messages=image_message(IMAGE), stream=True, extra_body={"scaled": SCALED | {"report": True}},
        **GREEDY,
    )  # fmt: skip
    *_, last = stream
    assert (last.model_extra or {})["scaled"] == expected


def test_mixed_with_eah_and_plain_requests_each_is_as_if_alone(server: Server) -> None:
    ways: list[dict[str, Any]] = [{}, {"eah": EAH}, {"scaled": SCALED}, {"scaled": SCALED | {"factor": 2.0}}]
    alone = [tokens(ask(server, **way)) for way in ways]
    assert len({tuple(answer) for answer in alone}) == len(ways)

    async def together() -> list[list[int]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0) as client:
            asked = [
                client.chat.completions.create(
                    model="tiny", messages=image_message(IMAGE),
                    extra_body={"ignore_eos": True, "return_token_ids": True} | way, **GREEDY,
                )
                for way in ways * 4
            ]  # fmt: skip
            return [tokens(response) for response in await asyncio.gather(*asked)]

    assert asyncio.run(together()) == alone * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scaled": {"head": 99}}, "scaled.head: this model has heads 0"),
        ({"scaled": {"layer": 99}}, "scaled.layer: this model has layers 0"),
        ({"scaled": {"heads": 1}}, "scaled.heads: unknown option; known are report, layer, head, factor"),
        ({"scaled": {"factor": "two"}}, "scaled.factor: "),
        ({"scaled": 5}, "scaled: must be true, false or an object of options, got 5"),
        ({"scaled": {"layer": 1}, "eah": True}, "scaled: cannot share a decoder layer with eah, got 1 for both"),
        ({"vllm_xargs": {"scaled": 1, "eah": 1, "eah_layer": [1, 2]}}, "scaled: cannot share a decoder layer with eah"),
        ({"vhr": True, "scaled": True}, "vhr: is not enabled on this server; start it with --additional-config "),
        ({"vllm_xargs": {"clva": 1}}, 'clva: is not enabled on this server; .*"eah", "clva", "scaled"'),
        ({"vllm_xargs": {"scaled_head": 1}}, "scaled_head: is set but `scaled` is not"),
        ({"extra_body": {"scaled": True}}, "extra_body.scaled"),
    ],
    ids=str,
)
def test_what_is_impossible_is_refused(server: Server, fields: dict[str, Any], message: str) -> None:
    refused = server.counter("scaled_requests_total", outcome="refused")
    with pytest.raises(openai.BadRequestError, match=message):
        ask(server, **fields)
    if "eah" not in str(fields) and "clva" not in str(fields) and "vhr" not in fields:
        assert server.counter("scaled_requests_total", outcome="refused") == refused + 1


def test_it_is_counted_and_described(server: Server) -> None:
    reported = SCALED | {"report": True}  # the report brings the counts of all requests before it along
    ask(server, scaled=reported)
    applied = server.counter("scaled_requests_total", outcome="applied")
    eah = server.counter("eah_requests_total", outcome="applied")
    ask(server, scaled=reported)
    assert server.counter("scaled_requests_total", outcome="applied") == applied + 1
    assert server.counter("eah_requests_total", outcome="applied") == eah
    described = json.loads(server.get("/v1/eah")[1])
    enabled = {name: method["enabled"] for name, method in described["methods"].items()}
    assert enabled == {"eah": True, "vhr": False, "clva": False, "scaled": True}
    assert described["engine"]["methods"] == ["eah", "scaled"]
    assert "enabled" not in described, "EAH's facts stand at the top too, but this one would say more there"
    assert described["methods"]["scaled"]["defaults"] == {"layer": 2}
    assert set(described["methods"]["scaled"]["options"]) == {"layer", "report", "head", "factor"}
    schema = json.loads(server.get("/openapi.json")[1])["components"]["schemas"]["EAHChatCompletionRequest"]
    assert {"eah", "scaled"} < set(schema["properties"])


@pytest.mark.parametrize("method", ["scaled", "vhr"])
def test_text_and_batches_take_no_method(server: Server, method: str) -> None:
    batch = {"messages": [[{"role": "user", "content": "dog ?"}]], "max_tokens": 2}
    for path, body in (("/v1/completions", {"prompt": "USER:"}), ("/v1/chat/completions/batch", batch)):
        status, answer = server.post(path, {"model": "tiny", method: True} | body)
        assert (status, json.loads(answer)["error"]["param"]) == (400, method)
        assert server.post(path, {"model": "tiny", method: False} | body)[0] == 200


def test_a_method_that_is_not_enabled_has_no_alias(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match=r"with EAH and SCALED on: tiny:eah\+scaled; ") as error:
        ask(server, model="tiny:vhr")
    assert "vhr" not in str(error.value).lower().replace("tiny:vhr", "")
