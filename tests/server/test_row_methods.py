"""Methods that act on generated rows, over HTTP: every way in, reports, refusals, mixed traffic, clients that leave.

One server of four places, so that requests wait for slots.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.checkpoints import random_image
from tools.serving import SMALL, Server, image_message

IMAGE = random_image(2)
MESSAGES = image_message(IMAGE)
PICTURE = MESSAGES[0]["content"][0]["image_url"]["url"]
CHAT, RESPONSES, ANTHROPIC = "/v1/chat/completions", "/v1/responses", "/v1/messages"
# Strong enough that the answers of a random model differ.
VHR: dict[str, Any] = {"layers": [1, 3], "factor": 8}
CLVA: dict[str, Any] = {"early": [0], "middle": [1, 2], "deep": [3, 4], "alpha": 100, "beta": 100}
EAH = {"layer": 2, "relative_threshold": 1.5}
WAYS: dict[str, dict[str, Any]] = {"vhr": VHR, "clva": CLVA}
METHODS = pytest.mark.parametrize("method", WAYS)
PLACES = 4


@pytest.fixture(scope="module")
def server(unusual_checkpoint: Path) -> Iterator[Server]:
    methods = json.dumps({"eah": {"methods": ["clva", "vhr", "eah"]}, "vhr": {"factor": 9}})
    arguments = [str(unusual_checkpoint), "--served-model-name", "tiny", *SMALL, "--max-num-seqs", str(PLACES)]
    arguments += ["--additional-config", methods]
    with Server(arguments, env={"VLLM_ENABLE_RESPONSES_API_STORE": "1"}) as server:
        yield server


def body(**fields: Any) -> dict[str, Any]:
    asked = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12, "ignore_eos": True, "logprobs": True}
    return {"model": "tiny", "return_token_ids": True} | asked | fields


def post(server: Server, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    status, answer = server.post(path, fields)
    assert status == 200, answer
    read: dict[str, Any] = json.loads(answer)
    return read


def ask(server: Server, **fields: Any) -> dict[str, Any]:
    return post(server, CHAT, body(**fields))


def tokens(answer: dict[str, Any]) -> list[int]:
    return list(answer["choices"][0]["token_ids"])


def flat(method: str, **more: Any) -> dict[str, Any]:
    return {method: 1} | {f"{method}_{name}": value for name, value in (WAYS[method] | more).items()}


@METHODS
def test_every_way_to_switch_it_on(server: Server, method: str) -> None:
    plain, by_field = tokens(ask(server)), tokens(ask(server, **{method: WAYS[method]}))
    assert by_field != plain, "it changes nothing"
    assert tokens(ask(server, vllm_xargs=flat(method))) == by_field
    as_texts = {name: [str(idx) for idx in value] if isinstance(value, list) else str(value)
                for name, value in flat(method).items()}  # fmt: skip
    assert tokens(ask(server, vllm_xargs=as_texts)) == by_field
    by_client = server.client.chat.completions.create(
        model="tiny", messages=MESSAGES, temperature=0, max_tokens=12,
        extra_body={method: WAYS[method], "ignore_eos": True, "return_token_ids": True},
    )  # fmt: skip
    assert tokens(by_client.model_dump()) == by_field
    assert tokens(ask(server, model=f"tiny:{method}", **{method: WAYS[method]})) == by_field
    assert tokens(ask(server, model=f"tiny:{method}")) == tokens(ask(server, **{method: True}))
    assert tokens(ask(server, model=f"tiny:{method}", **{method: False})) == plain
    assert tokens(ask(server)) == plain


def test_defaults_of_the_server_hold(server: Server) -> None:
    said = ask(server, vhr={"layers": [1], "report": True})["vhr"]["layers"]
    assert [layer["factor"] for layer in said] == [9]


def reported(method: str) -> dict[str, Any]:
    return {method: WAYS[method] | {"report": True}}


def check_report(method: str, report: dict[str, Any]) -> None:
    assert (report["applied"], report["reason"]) == (True, None)
    assert [layer["layer"] for layer in report["layers"]] == sorted(
        layer for value in WAYS[method].values() if isinstance(value, list) for layer in value
    )
    assert ("image_free_tokens" in report) == (method == "vhr")


@METHODS
def test_each_route_has_its_report(server: Server, method: str) -> None:
    whole = ask(server, **reported(method))[method]
    check_report(method, whole)
    asked = reported(method)
    stream = server.post(CHAT, body(stream=True, logprobs=None, **asked))[1]
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]
    assert [method in event for event in events] == [False] * (len(events) - 1) + [True]
    check_report(method, events[-1][method])
    parts = [{"type": "input_image", "image_url": PICTURE, "detail": "auto"}, {"type": "input_text", "text": "dog ?"}]
    response = {"model": "tiny", "input": [{"role": "user", "content": parts}], "temperature": 0}
    response |= {"max_output_tokens": 6} | asked
    check_report(method, post(server, RESPONSES, response)[method])
    later = post(server, RESPONSES, response | {"background": True})
    answer: dict[str, Any] = {"status": "queued"}
    while answer["status"] in ("queued", "in_progress"):
        answer = json.loads(server.get(f"{RESPONSES}/{later['id']}")[1])
    check_report(method, answer[method])
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE.partition(",")[2]}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "dog ?"}]
    message = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 6} | asked
    check_report(method, post(server, ANTHROPIC, message)[method])
    without = {"messages": [{"role": "user", "content": "dog ?"}]}
    assert ask(server, **without, **asked)[method]["reason"] == "no_image"


def test_two_methods_of_one_request(server: Server) -> None:
    """EAH changes the prompt's rows of a layer between those of which VHR changes the heads."""
    alone = [tokens(ask(server, **way)) for way in ({}, {"eah": EAH}, {"vhr": VHR})]
    both = ask(server, eah=EAH | {"report": True}, vhr=VHR | {"report": True})
    assert both["eah"]["applied"]
    check_report("vhr", both["vhr"])
    assert tokens(both) not in alone
    checked = ask(server, eah=EAH, vhr=VHR, verify={"objects": ["dog"], "yes": ["a"], "no": ["b"]})
    assert tokens(checked) == tokens(both)
    assert checked["verify"]["checked"]
    # By default VHR acts in EAH's layer, and in those of CLVA's deep part; EAH's layer is none of CLVA's.
    modes = ["eah", "vhr", "clva", "verify", "eah+clva", "eah+verify", "vhr+verify", "clva+verify", "eah+clva+verify"]
    assert json.loads(server.get("/v1/eah")[1])["aliases"] == [f"tiny:{mode}" for mode in modes]
    assert tokens(ask(server, model="tiny:clva+eah")) == tokens(ask(server, eah=True, clva=True))


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"vhr": {"layer": 1}}, "vhr.layer", "unknown option; known are report, layers, factor, heads, seed"),
        ({"vhr": {"layers": []}}, "vhr.layers", "at least 1 item"),
        ({"vhr": {"layers": [5]}}, "vhr.layers", "this model has layers 0..4, got 5"),
        ({"vhr": {"factor": "2"}}, "vhr.factor", "valid number"),
        ({"vhr": {"heads": "all"}}, "vhr.heads", "'auto' or 'random'"),
        ({"clva": {"deep": [2]}}, "clva.deep", "must come after all early and middle layers"),
        ({"clva": {"middle": [9]}}, "clva.middle", "this model has layers 0..4, got 9"),
        ({"clva": 3}, "clva", "must be true, false or an object of options, got 3"),
        ({"vhr": True, "clva": True}, "clva", "cannot share a decoder layer with vhr, got 3, 4 for both"),
        ({"vhr": True, "eah": True}, "vhr", "cannot share a decoder layer with eah, got 1 for both; name other layers"),
        ({"vhr": True, "vllm_xargs": {"vhr": 1}}, "vllm_xargs", "holds vhr beside the field `vhr`"),
        ({"vllm_xargs": {"vhr": 1, "vhr_layers": [9]}}, "vhr.layers", "this model has layers 0..4, got 9"),
        ({"vllm_xargs": {"vhr": 1, "vhr_layers": "[1, 3]"}}, "vhr_layers", "valid list, got '[1, 3]'"),
        ({"vllm_xargs": {"vhr_factor": 2}}, "vhr_factor", "is set but `vhr` is not"),
        ({"metadata": {"vhr": "true"}}, "metadata.vhr", 'in "vhr": {"report": true}'),
        ({"vhr": True, "use_beam_search": True}, "use_beam_search", "cannot be combined with vhr"),
    ],
    ids=str,
)
def test_what_is_impossible_is_refused(server: Server, fields: dict[str, Any], param: str, message: str) -> None:
    status, answer = server.post(CHAT, body(**fields))
    error = json.loads(answer)["error"]
    assert (status, error["param"]) == (400, param), answer
    assert message in error["message"]


def test_mixed_traffic_is_as_each_alone(server: Server) -> None:
    ways: list[dict[str, Any]] = [{}, {"vhr": VHR}, {"clva": CLVA}, {"eah": EAH}, {"eah": EAH, "vhr": VHR}]
    ways += [{"vhr": VHR, "n": 2, "temperature": 1e-4, "seed": 1}]
    alone = [ask(server, **way) for way in ways]
    assert len({tuple(tokens(answer)) for answer in alone}) == len(ways) - 1

    async def together() -> list[dict[str, Any]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0) as client:
            places = asyncio.Semaphore(8)

            async def one(way: dict[str, Any]) -> dict[str, Any]:
                async with places:
                    return dict(await client.post("/chat/completions", cast_to=object, body=body(**way)))  # type: ignore[call-overload]

            return await asyncio.gather(*(one(way) for way in ways * 5))

    for way, answer, expected in zip(ways * 5, asyncio.run(together()), alone * 5, strict=True):
        assert [c["token_ids"] for c in answer["choices"]] == [c["token_ids"] for c in expected["choices"]], way
        assert answer["choices"][0]["message"] == expected["choices"][0]["message"]


def test_clients_that_leave_take_nothing_along(server: Server) -> None:
    """More leave than there are places, some while the pass without the picture runs, some before they have a slot."""
    before = ask(server, **reported("vhr"))
    long = {"max_tokens": 300, "extra_body": {"ignore_eos": True, "vhr": VHR}}
    for _ in range(3):
        streams = [
            server.client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, **long)
            for _ in range(PLACES + 2)
        ]
        for stream in streams:
            stream.close()
    after = ask(server, **reported("vhr"))
    assert tokens(after) == tokens(before)
    check_report("vhr", after["vhr"])
    for state in ("running", "waiting"):
        server.wait_for_counter(0, f"vllm:num_requests_{state}", engine="0", model_name="tiny")


@METHODS
def test_it_is_counted_and_described(server: Server, method: str) -> None:
    counter = f"{method}_requests_total"
    ask(server, **reported(method))  # its report brings the counts of all requests before it along
    applied, refused = server.counter(counter, outcome="applied"), server.counter(counter, outcome="refused")
    eah = server.counter("eah_requests_total", outcome="applied")
    ask(server, **reported(method))
    assert server.post(CHAT, body(**{method: {"seed": -1}}))[0] == 400
    assert server.counter(counter, outcome="applied") == applied + 1
    assert server.counter(counter, outcome="refused") == refused + 1
    assert server.counter("eah_requests_total", outcome="applied") == eah
    described = json.loads(server.get("/v1/eah")[1])
    assert described["engine"]["methods"] == ["eah", "vhr", "clva"]
    facts = described["methods"][method]
    assert (facts["enabled"], facts.get("inspired", False)) == (True, method == "clva")
    assert set(WAYS[method]) < set(facts["options"])
    schema = json.loads(server.get("/openapi.json")[1])["components"]["schemas"]["EAHChatCompletionRequest"]
    assert method in schema["properties"]
