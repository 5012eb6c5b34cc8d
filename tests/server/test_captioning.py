"""`eah-vllm caption` against a real server: pictures and bad pictures, run again, killed, with the server away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.scenes.world import split_scenes
from tests.server.conftest import Running
from tests.server.test_evaluation import Forwarder
from tools.serving import API_KEY, Server, free_port, image_message

NUMBER = 6


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running([])[0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, scene in enumerate(split_scenes("test", NUMBER, 3000)):
        scene.pil().save(folder / f"{number}.png")
    return folder


def command(port: int, out: Path, *words: str | Path) -> list[str]:
    to = ["--base-url", f"http://127.0.0.1:{port}/v1", "--model", "scenes", "--api-key", API_KEY, "--out", str(out)]
    return [str(Path(sys.executable).with_name("eah-vllm")), "caption", *to, *map(str, words)]


def caption(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300)


def lines(out: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({line["path"] for line in found}) == len(found), "one line a picture"
    return {Path(line["path"]).name: line for line in found}


def requests(server: Server) -> float:
    return server.metrics()["vllm:request_success_total"]


def test_pictures_and_bad_pictures(server: Server, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "5.png").read_bytes()
    (pictures / "torn.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.jpg").write_text("a cat")
    out = tmp_path / "captions.jsonl"
    done = caption(server.port, out, pictures, tmp_path / "away.png", "--eah")
    assert done.returncode == 3, done.stderr
    assert f"9 pictures: 6 captions, 3 skipped. Written to {out}" in done.stderr
    for name, why in {"torn.png": "", "text.jpg": "it is not a picture", "away.png": "No such file"}.items():
        assert f"{name} (" in done.stderr
        assert why in lines(out)[name]["error"]
    found = lines(out)
    assert (found["torn.png"]["text"], found["torn.png"]["finish_reason"]) == (None, None)
    for number, scene in enumerate(split_scenes("test", NUMBER, 3000)):
        line = found[f"{number}.png"]
        alone = server.client.chat.completions.create(
            model="scenes", messages=image_message(scene.pil()), max_tokens=256, temperature=0, extra_body={"eah": True}
        )
        assert line["text"] == alone.choices[0].message.content
        assert (line["finish_reason"], line["error"], line["eah"]["applied"]) == ("stop", None, True)

    before = requests(server)
    again = caption(server.port, out, pictures, tmp_path / "away.png", "--eah")
    assert (again.returncode, requests(server)) == (3, before), "a second run asks nothing"
    assert "9 pictures: 6 captions, 3 skipped" in again.stderr
    (pictures / "torn.png").write_bytes(whole)
    mended = caption(server.port, out, pictures, "--eah", "--retry-skipped")
    assert "8 pictures: 7 captions, 1 skipped" in mended.stderr
    assert lines(out)["torn.png"]["text"] == found["5.png"]["text"]
    other = caption(server.port, out, pictures)
    assert (other.returncode, "setting: 'on' there, 'off' now" in other.stderr) == (1, True)


def test_killed_and_run_again_it_asks_nothing_twice(server: Server, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    with subprocess.Popen(
        command(server.port, out, pictures, "--concurrency", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not out.exists() or not out.read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.kill()
    with out.open("ab") as file:
        file.write(b'{"path": "torn')
    kept = out.read_bytes().count(b"\n")
    before = requests(server)
    done = caption(server.port, out, pictures)
    assert done.returncode == 0, done.stderr
    assert len(lines(out)) == NUMBER
    assert requests(server) - before <= NUMBER - kept + 2, "what is missing, the first picture, and one that was killed"


def test_it_waits_for_a_server_that_is_away(server: Server, pictures: Path, tmp_path: Path) -> None:
    between = Forwarder(server.port)
    between.start()
    between.stop()  # its port is taken and refuses connections
    out = tmp_path / "captions.jsonl"
    with subprocess.Popen(command(between.port, out, pictures), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not out.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
        between.start()
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(120) == 0, told
    between.stop()
    assert len(lines(out)) == NUMBER


def test_what_is_no_fault_of_a_picture_ends_the_run(server: Server, pictures: Path, tmp_path: Path) -> None:
    away = caption(free_port(), tmp_path / "a.jsonl", pictures, "--patience", "1")
    assert (away.returncode, "stays away" in away.stderr) == (1, True)
    layer = caption(server.port, tmp_path / "b.jsonl", pictures, "--eah", "layer=99")
    assert (layer.returncode, "this model has layers" in layer.stderr) == (1, True), layer.stderr
    key = caption(server.port, tmp_path / "c.jsonl", pictures, "--api-key", "wrong")
    assert (key.returncode, "401" in key.stderr) == (1, True), key.stderr
    assert (tmp_path / "b.jsonl").read_bytes() == b"", "no picture is blamed"
