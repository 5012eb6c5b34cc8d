"""`POST /v1/eah/inspect` on the built-in model: against the reference, beside EAH and ordinary requests, refusals."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from eah_vllm.evaluation.ask.asking import Server as Asked
from eah_vllm.evaluation.mechanism.claim import main as measure_claim
from eah_vllm.evaluation.mechanism.sink_counts import look
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.inspector.command import main
from eah_vllm.scenes import MODEL_PATH
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import image_prompt
from eah_vllm.scenes.world import make_scene
from tests.reference import LayerOutcome, reference_generate
from tools.serving import API_KEY, Server, image_message

LAYERS, HEADS, SCENE = 6, 8, 200003
WAYS: list[dict[str, Any]] = [{"threshold": 0.002}, {"relative_threshold": 1.0}, {"relative_threshold": 1.5}]
THRESHOLDS = {"thresholds": [0.002], "relative_thresholds": [1.0, 1.5]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(["--max-num-batched-tokens", "400", "--enable-prompt-tokens-details"]) as server:
        yield server


def messages(scene: int = SCENE) -> list[Any]:
    return image_message(make_scene(scene).pil(), CAPTION_REQUEST)


def body(**more: Any) -> dict[str, Any]:
    return {"model": "scenes", "messages": messages(), "eah": THRESHOLDS} | more


def inspect(server: Server, **more: Any) -> Any:
    status, answer = server.post("/v1/eah/inspect", body(**more))
    assert status == 200, answer
    return json.loads(answer)


def reference(layer: int, way: dict[str, Any]) -> LayerOutcome:
    picture, asked = make_scene(SCENE).pil(), {"layer": layer} | way
    return reference_generate(MODEL_PATH, image_prompt(CAPTION_REQUEST), [picture], asked, max_tokens=1).report[0]


def test_every_layer_and_head_is_the_references(server: Server) -> None:
    found = inspect(server, eah=THRESHOLDS | {"layer": 3, "head": 5})
    assert found["thresholds"] == WAYS
    assert (found["model"], found["image_tokens"]) == ("scenes", 144)
    assert [layer["layer"] for layer in found["layers"]] == list(range(LAYERS))
    for layer in found["layers"]:
        expected = [reference(layer["layer"], way) for way in WAYS]
        assert min(one.margin for one in expected) > 1e-7, "rounding would decide; take another scene"
        assert layer["source_head"] == [one.head for one in expected]
        sinks = list(zip(*(one.sinks_per_head for one in expected), strict=True))
        assert layer["heads"] == [
            {"head": head, "sinks": list(of_head), "density": pytest.approx([number / 144 for number in of_head])}
            for head, of_head in enumerate(sinks)
        ]
    assert len({tuple(head["sinks"]) for layer in found["layers"] for head in layer["heads"]}) > LAYERS * HEADS / 2
    (tile,) = found["map"]["images"][0]["tiles"]
    assert (found["map"]["layer"], found["map"]["head"], found["map"]["images"][0]["image"]) == (3, 5, 0)
    assert (tile["rows"], tile["columns"], tile["box"]) == (12, 12, [0, 0, 1, 1])
    assert tile["received"] == pytest.approx(reference(3, WAYS[0]).received[5].tolist(), rel=1e-3, abs=1e-7)


def test_it_says_what_the_reports_of_eah_say(server: Server) -> None:
    layers = inspect(server)["layers"]
    for layer in (1, 4):
        for number, way in enumerate(WAYS):
            reply = server.client.chat.completions.create(
                model="scenes", messages=messages(), max_tokens=1, temperature=0,
                extra_body={"eah": way | {"layer": layer, "report": True}},
            )  # fmt: skip
            (report,) = reply.eah["layers"]
            source = layers[layer]["source_head"][number]
            assert report["head"] == source
            head = layers[layer]["heads"][source]
            assert (report["sinks"], report["density"]) == (head["sinks"][number], head["density"][number])


def test_no_head_with_a_sink_and_no_threshold(server: Server) -> None:
    (none,) = {tuple(layer["source_head"]) for layer in inspect(server, eah={"thresholds": [0.99]})["layers"]}
    assert none == (None,)
    default = json.loads(server.get("/v1/eah")[1])["methods"]["eah"]["defaults"]
    expected = {name: value for name, value in default.items() if name in ("threshold", "relative_threshold")}
    for eah in (None, True, {}, {"thresholds": []}):
        assert inspect(server, eah=eah)["thresholds"] == [expected]


def test_ordinary_requests_beside_it_stay_exact(server: Server) -> None:
    scenes = [200000 + number for number in range(50)]
    asked: dict[str, Any] = {"model": "scenes", "max_tokens": 12, "temperature": 0, "logprobs": True}
    more = {"return_token_ids": True, "ignore_eos": True}

    async def together(inspecting: bool) -> tuple[list[Any], list[Any]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0) as client:
            plain = [client.chat.completions.create(messages=messages(n), extra_body=more, **asked) for n in scenes]
            looks = [client.post("/eah/inspect", body=body(messages=messages(n)), cast_to=object) for n in scenes]
            if not inspecting:
                for look in looks:
                    look.close()
                return await asyncio.gather(*plain), []
            both = await asyncio.gather(*(call for pair in zip(looks, plain, strict=True) for call in pair))
            return both[1::2], both[::2]

    alone, _ = asyncio.run(together(False))
    hits = server.metrics()["vllm:prefix_cache_hits_total"]
    mixed, looks = asyncio.run(together(True))
    assert server.metrics()["vllm:prefix_cache_hits_total"] > hits, "ordinary requests share their cache as before"
    for one, other in zip(alone, mixed, strict=True):
        assert one.choices[0].token_ids == other.choices[0].token_ids
        first, second = (reply.choices[0].logprobs.content for reply in (one, other))
        assert [token.logprob for token in first] == [token.logprob for token in second]
    assert len({json.dumps(look["layers"]) for look in looks}) == 50, "every picture is looked at by itself"
    assert looks[3]["layers"] == inspect(server)["layers"]


def test_it_reads_no_cached_prefix_and_ordinary_requests_read_what_it_wrote(server: Server) -> None:
    asked: dict[str, Any] = {"model": "scenes", "messages": messages(200777), "max_tokens": 12, "temperature": 0}
    first = inspect(server, messages=asked["messages"])
    ways = [{"return_token_ids": True} | way for way in ({}, {"cache_salt": "nobody's"})]
    reading, fresh = (server.client.chat.completions.create(**asked, logprobs=True, extra_body=way) for way in ways)
    cached = [reply.usage.prompt_tokens_details.cached_tokens for reply in (reading, fresh)]
    assert cached[0] > 100
    assert not cached[1]
    assert reading.choices[0].token_ids == fresh.choices[0].token_ids
    pairs = zip(*(reply.choices[0].logprobs.content for reply in (reading, fresh)), strict=True)
    assert max(abs(one.logprob - other.logprob) for one, other in pairs) < 1e-4
    assert inspect(server, messages=asked["messages"]) == first


LONG = [{"role": "user", "content": [messages()[0]["content"][0], {"type": "text", "text": "a cat " * 135}]}]


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"eah": {"layer": 6, "head": 0}}, "eah.layer", "this model has layers 0..5, got 6"),
        ({"eah": {"layer": 0, "head": 8}}, "eah.head", "this model has heads 0..7, got 8"),
        ({"eah": {"layer": 0}}, "eah.head", "must stand beside layer"),
        ({"eah": {"head": 0}}, "eah.layer", "must stand beside head"),
        ({"eah": {"layer": [0, 1], "head": 0}}, "eah.layer", "got [0, 1]"),
        ({"eah": {"thresholds": [0]}}, "eah.thresholds", "greater than 0, got [0]"),
        ({"eah": {"thresholds": [True]}}, "eah.thresholds", "a number, not a boolean"),
        ({"eah": {"thresholds": 0.1}}, "eah.thresholds", "a valid list, got 0.1"),
        ({"eah": {"relative_thresholds": [1.0] * 60, "thresholds": [0.1] * 5}}, "eah.thresholds", "at most 64"),
        ({"eah": {"threshold": 0.002}}, "eah.threshold", "unknown option; known are report, layer, head, thresholds"),
        ({"eah": 5}, "eah", "must be an object of options, got 5"),
        ({"stream": True}, "stream", "answered whole"),
        ({"n": 2}, "n", "got 2"),
        ({"use_beam_search": True}, "use_beam_search", "got true"),
        ({"verify": True}, "verify", "takes no verify"),
        ({"top_k": 2**70}, "top_k", "does not fit into 64 bits"),
        ({"vllm_xargs": {"eah": 1}}, "vllm_xargs", "holds eah, which is not read here"),
        ({"vllm_xargs": {"inspect_head": 1}}, "vllm_xargs", "holds inspect_head"),
        ({"extra_body": {"eah": {}}}, "extra_body.eah", "extra_body is an argument of the openai client"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "messages", "must hold a picture (image) to inspect"),
        ({"messages": LONG}, "messages", "prompts of at most 400 tokens"),
        ({"messages": [{"role": "user", "content": [{"type": "image_pil", "image_pil": "x"}]}]}, None, "image_pil"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_impossible_is_refused(server: Server, fields: dict[str, Any], field: str | None, message: str) -> None:
    refused = server.counter("inspect_requests_total", outcome="refused")
    status, answer = server.post("/v1/eah/inspect", body(**fields))
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (400, 400)
    assert message in error["message"]
    assert field is None or error["param"] == field
    if field not in (None, "extra_body.eah", "top_k"):
        assert server.counter("inspect_requests_total", outcome="refused") == refused + 1


def test_names_key_and_other_routes(server: Server) -> None:
    assert inspect(server, model="scenes:eah") == inspect(server)
    status, answer = server.post("/v1/eah/inspect", body(model="cat"))
    assert status == 404
    assert "Valid names: scenes" in json.loads(answer)["error"]["message"]
    assert server.get("/v1/eah/inspect", key="wrong")[0] == 401
    chat = {"model": "scenes", "messages": messages(), "max_tokens": 1}
    status, answer = server.post("/v1/chat/completions", chat | {"vllm_xargs": {"inspect": 1}})
    assert (status, json.loads(answer)["error"]["param"]) == (400, "vllm_xargs")
    assert not [model.id for model in server.client.models.list().data if "inspect" in model.id]


def test_it_is_counted_and_described(server: Server) -> None:
    applied = server.counter("inspect_requests_total", outcome="applied")
    eah = server.counter("eah_requests_total", outcome="applied")
    inspect(server)
    assert server.counter("inspect_requests_total", outcome="applied") == applied + 1
    assert server.counter("eah_requests_total", outcome="applied") == eah
    described = json.loads(server.get("/v1/eah")[1])
    assert set(described["methods"]) == {"eah", "vhr", "clva"}, "the inspector has a section of its own"
    limits = {"layer": [0, 5], "head": [0, 7], "thresholds": 64}
    assert (described["inspect"]["route"], described["inspect"]["limits"]) == ("/v1/eah/inspect", limits)
    openapi = json.loads(server.get("/openapi.json")[1])
    route = openapi["paths"]["/v1/eah/inspect"]["post"]
    assert route["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Inspection")
    assert {"400", "401", "404", "503"} < set(route["responses"])
    assert "eah" in openapi["components"]["schemas"]["InspectRequest"]["properties"]


def arguments(server: Server, picture: Path, out: Path, *words: str) -> list[str]:
    to = ["--base-url", f"{server.url}/v1", "--api-key", str(server.api_key), "--out", str(out), *words]
    return [str(picture), *to]


def test_the_command_writes_a_page(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, out = tmp_path / "scene.png", tmp_path / "pages" / "report.html"
    make_scene(SCENE).pil().save(picture)
    words = ["--model", "scenes", "--prompt", CAPTION_REQUEST, "--relative-threshold", "1.5", "--map", "2:7"]
    program = [str(Path(sys.executable).with_name("eah-vllm")), "inspect", *arguments(server, picture, out, *words)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    page = out.read_text()
    found = inspect(server, eah={"relative_thresholds": [1.5]})
    for layer in found["layers"]:
        (source,) = layer["source_head"]
        assert f'id="map-{layer["layer"]}-{source}"' in page
        for head in layer["heads"]:
            assert f'title="layer {layer["layer"]}, head {head["head"]}: {head["sinks"][0]} of 144"' in page
    assert 'id="map-2-7"' in page
    assert page.count('class="picture"') == page.count('<figure id="map-')

    for word, message in (("--model=cat", "does not exist"), ("--threshold=7", "eah.thresholds"), ("--map=99:1", "99")):
        assert main(arguments(server, picture, out, "--model", "scenes", word)) == 1
        assert message in capsys.readouterr().err
    assert main(arguments(server, tmp_path / "none.png", out, "--model", "scenes")) == 1
    assert "none.png: " in capsys.readouterr().err


def test_sinks_of_many_pictures_are_counted_over_the_server(server: Server, tmp_path: Path) -> None:
    task, asked = ScenesTask(3), Asked(f"{server.url}/v1", "scenes", API_KEY, 2)
    first, *others = [question.unit for question in task.questions() if question.group == "caption"]
    seen = look(asked, task, {first: "a cat"}, {"thresholds": [0.002], "relative_thresholds": [1.0]})
    assert seen.thresholds == pytest.approx({"3/S": 3 / 158, "0.002": 0.002, "1/S": 1 / 158}), (
        "the model's own is first"
    )
    assert (seen.image_tokens, seen.prompt_tokens, list(seen.captions)) == (144, 158, [first, *others])
    options = {"thresholds": [0.002], "relative_thresholds": [3.0, 1.0]}
    for number, unit in enumerate([first, *others]):
        found = inspect(server, messages=messages(int(unit)), eah=options)
        by_head = [[head["sinks"] for head in layer["heads"]] for layer in found["layers"]]
        assert [[[s[1], s[0], s[2]] for s in heads] for heads in by_head] == seen.sinks[:, number].transpose(
            1, 2, 0
        ).tolist()
    assert seen.captions[first] == "a cat"
    status, answer = server.post(
        "/v1/chat/completions",
        {"model": "scenes", "messages": messages(int(others[0])), "max_tokens": 80, "temperature": 0},
    )
    assert status == 200
    assert seen.captions[others[0]] == json.loads(answer)["choices"][0]["message"]["content"]

    command = ["--base-url", f"{server.url}/v1", "--model", "scenes", "--api-key", API_KEY, "--n", "8"]
    assert measure_claim([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "mechanism.json").read_text())
    assert (written["n"], [one["name"] for one in written["thresholds"]]) == (8, ["3/S", "0.002", "1/S", "1.5/S"])
    assert measure_claim([*command[:2], "--model", "nobody", "--api-key", API_KEY, "--out", str(tmp_path)]) == 1
