"""What the pages print works: snippets of README, quickstart and clients, messages of docs/errors.md; on one server."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from eah_vllm.scenes.benchmark import score_captions
from eah_vllm.scenes.world import make_scene
from tests.printed import Snippet, asking, begins, rows, snippets
from tests.server.conftest import Running
from tools import ROOT
from tools.serving import Server, image_message

CLIENTS, ERRORS, QUICKSTART = "docs/clients.md", "docs/errors.md", "docs/quickstart.md"
EVERYBODYS, CURL = "all", "curl"
PYTHONS = [sys.executable, *filter(None, [os.environ.get("EAH_CLIENTS_PYTHON")])]
"""Interpreters in which a snippet may find its package; `make clients` names a second one."""


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running([])[0]  # the built-in model, no arguments but the port


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hallucinations_and_recall(caption: str, seed: int) -> tuple[float, float]:
    scores = score_captions([caption], [make_scene(seed)])
    return scores["CHAIRs"], scores["recall"]


def test_the_readme_works_as_printed(server: Server) -> None:
    lines = run(sys.executable, "-c", asking("README.md", "python").here(server)).splitlines()
    assert [line.split()[0] for line in lines] == ["scene-91.png"] * 2 + ["scene-60.png"] * 2
    assert [line.endswith(" None") for line in lines] == [True, False, True, False]
    for line, seed in zip((lines[0], lines[1], lines[3]), (91, 91, 60), strict=True):
        assert hallucinations_and_recall(line, seed) == (0, 100), line
    assert hallucinations_and_recall(lines[2], 60)[0] > 0, "the picture no longer shows what EAH does"
    assert all("'applied': True" in line for line in (lines[1], lines[3]))

    reply = json.loads(run("bash", "-c", asking("README.md", "bash").here(server)))
    assert hallucinations_and_recall(reply["choices"][0]["message"]["content"], 60) == (0, 100)
    assert reply["eah"]["applied"]
    described = json.loads(server.get("/v1/eah")[1])
    assert reply["eah"]["layers"][0]["layer"] == described["defaults"]["layer"]
    assert "relative_threshold" in described["defaults"], "the checkpoint carries its own threshold"


def test_the_quick_start_works_as_printed(server: Server) -> None:
    code = {one.client: one.here(server) for one in snippets(QUICKSTART) if one.client}
    caption, report = run("bash", "-c", code["ask"]).splitlines()
    assert hallucinations_and_recall(caption, 60) == (0, 100)
    assert json.loads(report)["applied"]
    assert json.loads(run("bash", "-c", code["describe"]))["supported"]
    written = ROOT / "build" / "captions.jsonl"
    for file in (written, written.with_name(written.name + ".run.json")):
        file.unlink(missing_ok=True)  # or the command would find nothing left to do
    run("bash", "-c", code["caption"])
    lines = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert {line["path"] for line in lines} == {str(file.relative_to(ROOT)) for file in ROOT.glob("docs/images/*.png")}
    assert all(line["eah"]["applied"] and line["mentions"] and line["error"] is None for line in lines)


def python_with(package: str) -> str:
    """Return an interpreter that has the package, or pass over the test."""
    for python in PYTHONS:
        top = package.partition(".")[0]
        code = f"import importlib.util as u, sys; sys.exit(not (u.find_spec({top!r}) and u.find_spec({package!r})))"
        if subprocess.run([python, "-c", code], cwd=ROOT, check=False).returncode == 0:
            return python
    pytest.skip(f"{package} is not installed; `make clients` runs this with it")


OF_CLIENTS = [one for one in snippets(CLIENTS) if one.client not in ("", EVERYBODYS)]


@pytest.mark.parametrize("snippet", OF_CLIENTS, ids=[f"{one.client}-{at}" for at, one in enumerate(OF_CLIENTS)])
def test_a_client_captions_with_eah(server: Server, snippet: Snippet) -> None:
    """Without EAH this picture's caption has a cloud that is not there, so the caption alone shows that EAH was on."""
    if snippet.client == CURL:
        streamed = [
            json.loads(line[6:]) for line in run("bash", "-c", snippet.here(server)).splitlines() if "{" in line
        ]
        caption = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in streamed)
        printed = [caption, str(streamed[-1]["eah"])]
    else:
        start = next(one for one in snippets(CLIENTS) if one.client == EVERYBODYS)
        code = start.code + snippet.here(server)
        printed = run(python_with(snippet.client), "-c", code).strip().splitlines()
    assert hallucinations_and_recall(printed[0], 60) == (0, 100), printed
    assert len(printed) == 1 + ("report" in snippet.code)
    assert all("'applied': True" in line for line in printed[1:])


def test_every_client_of_the_table_has_a_snippet() -> None:
    named = {one.client for one in OF_CLIENTS}
    assert named == {"openai", CURL, "anthropic", "langchain_openai", "llama_index.llms.openai_like", "litellm"}
    assert len(OF_CLIENTS) == 8


PICTURE = Image.new("RGB", (32, 32), "grey")


def of_file(image: Image.Image, file_type: str = "png", **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, file_type, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def showing(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


SVG = "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()
PROVOKED: dict[str, dict[str, Any]] = {
    "eah: must be true, false or an object of options, got ...": {"eah": "yes"},
    "eah...: unknown option; known are ...": {"eah": {"layr": 1}},
    "eah...: Input should be ..., got ...": {"eah": {"layer": "1"}},
    "...: must be a number, not a boolean, got ...": {"eah": {"layer": True}},
    "eah.layer: this model has layers 0..., got ...": {"eah": {"layer": 6}},
    "eah.relative_threshold: threshold and relative_threshold exclude each other: send one of them, got ...": {
        "eah": {"threshold": 0.1, "relative_threshold": 1}
    },
    'eah.seed: must stand beside head: "random", which alone draws, got ...': {"eah": {"seed": 1}},
    "...: EAH is not read here; send the field eah at the top level of the body": {"metadata": {"eah_layer": "1"}},
    "...: extra_body is an argument of the openai client and no field of the request": {"extra_body": {"eah": True}},
    "...: a check is not asked for here; send the field verify at the top level of the body": {
        "metadata": {"verify": "1"}
    },
    "vllm_xargs: holds ... beside the field ...": {"eah": True, "vllm_xargs": {"eah": 1}},
    "...: is set but ... is not; send ...=1 to switch it on": {"vllm_xargs": {"eah_layer": 1}},
    "...: must be true or false (1 or 0), got ...": {"vllm_xargs": {"eah": 2}},
    "use_beam_search: cannot be combined with ...; send one of them": {"eah": True, "use_beam_search": True},
    "... does not fit into 64 bits: ...": {"top_k": 2**70},
    "length_penalty must lie between -...": {"length_penalty": 51},
    "...=... would cut a picture off; leave it out, or shorten the text": {"truncate_prompt_tokens": 8},
    "n: cannot be combined with verify, which checks one answer; send n 1, got ...": {"verify": True, "n": 2},
    "stream: cannot be combined with verify with action ..., which needs the whole answer before its first word": {
        "verify": {"action": "rewrite"}, "stream": True
    },
    "...: cannot be combined with verify with action ..., since it would no longer fit the text": {
        "verify": {"action": "rewrite"}, "logprobs": True
    },
    'verify...: belongs to action "best_of", got action ...': {"verify": {"n": 2}},
    "verify.question: must hold {object} exactly once": {"verify": {"question": "Is it there?"}},
    "verify.no: ... stands under yes and under no": {"verify": {"no": ["Yes"]}},
    "this server fetches no URLs; send the picture as a data: URL": showing("https://example.com/a.png"),
    "the server's files are not read": showing("file:///a.png"),
    "a data: URL must be data:TYPE;base64,DATA": showing("data:image/png,AAAA"),
    "the URL must be a data: URL": showing("ftp://example.com/a.png"),
    "the picture is refused: the data: URL must say that it holds an image": showing("data:text/html;base64,AAAA"),
    "the picture is refused: its base64 is broken": showing("data:image/png;base64,A-A_"),
    "the picture is refused: it is not a picture that can be read; known formats: ...": showing(SVG),
    "the picture is refused: ... x ... is longer than ... times its width (eah_http.image_aspect)": showing(
        of_file(Image.new("RGB", (101, 1)))
    ),
    "the picture is refused: it is animated; send one frame": showing(
        of_file(PICTURE, "gif", save_all=True, append_images=[Image.new("RGB", (32, 32), "white")])
    ),
    "...: this server takes no ... in a message; the types of parts are ...": {
        "messages": [{"role": "user", "content": [{"type": "image_pil", "image_pil": "a"}]}]
    },
    "type: ... is no type of a content part; the types of parts are ...": {
        "messages": [{"role": "user", "content": [{"type": "picture", "picture": "a"}]}]
    },
    '...: must be a URL, or {"url": URL}, got ...': {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]}]
    },
    "413 the request body is larger than ... commas and brackets (eah_http.body_items)": {"stop": [[]] * 250_001},
    "404 The model ... does not exist. Valid names: ...": {"model": "scene:eah"},
}  # fmt: skip


def test_the_messages_of_the_page_are_what_a_client_gets(server: Server) -> None:
    cells = [row.get("message") or row.get("status, message") or "" for row in rows(ERRORS)]
    for printed, body in PROVOKED.items():
        status, message = (int(printed[:3]), printed[4:]) if printed[:3].isdecimal() else (400, printed)
        row = f"{status} `{message}`" if printed[:3].isdecimal() else f"`{message}`"
        assert row in cells, f"{ERRORS} has no such row"
        asked = {"model": "scenes", "messages": image_message(PICTURE), "max_tokens": 1}
        answer = server.post("/v1/chat/completions", asked | body)
        assert answer[0] == status, answer
        assert begins(json.loads(answer[1])["error"]["message"], message), answer


def test_reasons_of_the_page_are_what_a_report_says(server: Server) -> None:
    text: Any = [{"role": "user", "content": "Is there a dog?"}]
    for reason, body in {
        "no_image": {"eah": {"report": True}, "messages": text},
        "no_sink": {"eah": {"report": True, "threshold": 0.99}},
        "below_min_density": {"eah": {"report": True, "min_density": 1}},
    }.items():
        asked = {"model": "scenes", "messages": image_message(PICTURE), "max_tokens": 1}
        report = json.loads(server.post("/v1/chat/completions", asked | body)[1])["eah"]
        assert (report["applied"], report["reason"]) == (False, reason)
