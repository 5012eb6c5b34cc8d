"""`eah-vllm eval scenes` against a real server: its files, killed and run again, with the server away for a while."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from eah_vllm.evaluation.ask.asking import Server as Asked
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.cost import measure
from eah_vllm.evaluation.tasks.scenes import ScenesTask
from eah_vllm.scenes.benchmark import score_captions
from eah_vllm.scenes.world import split_scenes
from tests.server.conftest import Running
from tools.serving import API_KEY, Server, free_port

N = 6
SETTINGS = ["--eah", "off", "--eah", "layer=1,relative_threshold=1.5"]


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running([])[0]


@cache
def question_ids() -> list[str]:
    """Computed once, since this takes two seconds."""
    return [question.id for question in ScenesTask(N).questions()]


class Forwarder:
    """A TCP forwarder in front of the server, which can be away: its port then refuses connections."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def start(self) -> None:
        self._listening = self._run(asyncio.start_server(self._forward, "127.0.0.1", self.port))

    def stop(self) -> None:
        """Close the port and every connection."""

        async def stop() -> None:
            self._listening.close()
            for writer in list(self._open):
                writer.transport.abort()

        self._run(stop())

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._open |= {writer, to_writer}

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(1 << 16):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass  # the other side is told by closing, below
            finally:
                target.close()

        await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))
        self._open -= {writer, to_writer}


def command(port: int, out: Path, *options: str, settings: list[str] = SETTINGS) -> list[str]:
    words = [str(Path(sys.executable).with_name("eah-vllm")), "eval", "scenes", "--n", str(N), "--out", str(out)]
    words += ["--base-url", f"http://127.0.0.1:{port}/v1", "--model", "scenes", "--api-key", API_KEY]
    return [*words, *settings, *options]


def evaluate(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, **more), capture_output=True, text=True, check=False, timeout=300)


def lines(out: Path) -> list[dict[str, Any]]:
    path = out / "answers.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_answers(out: Path, number: int, process: subprocess.Popen[bytes]) -> None:
    path, deadline = out / "answers.jsonl", time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert process.poll() is None, "it ended before it was disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    done = evaluate(server.port, out)
    assert done.returncode == 0, done.stderr
    assert re.match(r"(A control does as well|No difference seen|EAH \()", done.stdout)
    return out


def test_the_summary_has_every_setting_and_its_controls(undisturbed: Path) -> None:
    rows = json.loads((undisturbed / "summary.json").read_text())
    names = [row["setting"] for row in rows]
    assert names[:2] == ["off", "layer=1,relative_threshold=1.5"]
    assert {"head=random,layer=1,relative_threshold=1.5", "head=sparsest,layer=1,relative_threshold=1.5"} < set(names)
    assert re.match(r"off,end_bias=", names[-1])
    for row in rows:
        assert row["n"] == N
        assert {"chairs", "chairi", "recall", "words", "mended", "spoiled"} < row.keys()
        low, high = row["ci95"]["chairs"]
        assert low <= row["chairs"] <= high
        assert row["length_matched"]["words"] <= min(row["words"], rows[0]["words"])
    applied = {row["setting"]: row["applied"] for row in rows if row["applied"] is not None}
    fixed = [f"head={head},layer=1" for head in range(8)]
    assert list(applied) == [*names[1:4], *fixed], "EAH, a random head, the sparsest, and every fixed head"
    assert {one["share"] for one in applied.values()} == {1.0}
    assert [applied[name]["heads"] for name in fixed] == [{"1": {str(head): N}} for head in range(8)]
    drawn = rows[names.index("head=random,layer=1,relative_threshold=1.5")]
    assert (drawn["draws"]["number"], len(drawn["draws"]["chairs"]["values"])) == (5, 5)
    assert drawn["chairs"] == pytest.approx(sum(drawn["draws"]["chairs"]["values"]) / 5, abs=1e-3)
    assert sum(drawn["applied"]["heads"]["1"].values()) == 5 * len(question_ids())
    assert len(drawn["applied"]["heads"]["1"]) > 3, "the head is drawn anew for each picture"
    assert set(rows[1]["parts"]) == {"yes_no", "random", "popular", "adversarial"}
    assert rows[0]["difference"]["chairs"] == {"value": 0.0, "ci95": [0.0, 0.0], "verdict": "no difference seen"}


def test_captions_are_scored_as_the_built_in_benchmark_scores_them(undisturbed: Path) -> None:
    rows = json.loads((undisturbed / "summary.json").read_text())
    said = {line["question"]: line["text"] for line in lines(undisturbed) if line["setting"] == "off"}
    scenes = split_scenes("test", N)
    expected = score_captions([said[f"{scene.seed}/caption"] for scene in scenes], scenes)
    found = {"CHAIRs": "chairs", "CHAIRi": "chairi", "recall": "recall", "words": "words"}
    assert {name: rows[0][ours] for name, ours in found.items()} == pytest.approx(
        {name: expected[name] for name in found}, abs=1e-4
    )


def test_eah_reaches_the_engine_and_changes_answers(undisturbed: Path) -> None:
    said: dict[str, dict[str, str]] = {}
    for line in lines(undisturbed):
        said.setdefault(line["setting"], {})[line["question"]] = line["text"]
        assert (line["eah"] is None) == line["setting"].startswith("off")
    assert len({tuple(sorted(answers.items())) for name, answers in said.items() if "bias" not in name}) > 1


def check_whole(out: Path, undisturbed: Path) -> None:
    """Every question once under every setting, and the same answers as a run that nothing disturbed."""
    kept = lines(out)
    assert max(Counter((line["setting"], line["question"]) for line in kept).values()) == 1
    wanted = {(name, id_) for name in ("off", "layer=1,relative_threshold=1.5") for id_ in question_ids()}
    assert {(line["setting"], line["question"]) for line in kept} == wanted
    before = {(line["setting"], line["question"]): line["text"] for line in lines(undisturbed)}
    assert all(before[line["setting"], line["question"]] == line["text"] for line in kept)


def test_killed_and_run_again_it_asks_nothing_twice(server: Server, undisturbed: Path, tmp_path: Path) -> None:
    words = command(server.port, tmp_path, "--no-controls", "--concurrency", "2")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_answers(tmp_path, 5, process)
        process.kill()
    asked = len(lines(tmp_path))
    assert asked < 2 * len(question_ids())
    done = evaluate(server.port, tmp_path, "--no-controls")
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, undisturbed)


def test_it_waits_for_a_server_that_is_away(server: Server, undisturbed: Path, tmp_path: Path) -> None:
    between = Forwarder(server.port)
    between.start()
    words = command(between.port, tmp_path, "--no-controls", "--concurrency", "2", "--patience", "120")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_for_answers(tmp_path, 5, process)
        between.stop()
        settled = len(lines(tmp_path))
        time.sleep(3)  # away: nothing can be answered, however long this is
        assert len(lines(tmp_path)) <= settled + 2
        assert process.poll() is None
        between.start()
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(120) == 0, told
    between.stop()
    check_whole(tmp_path, undisturbed)


def test_a_server_that_stays_away_or_refuses_is_an_error_and_no_score(server: Server, tmp_path: Path) -> None:
    away = evaluate(free_port(), tmp_path / "away", "--patience", "1")
    assert (away.returncode, "stays away" in away.stderr) == (1, True)
    refused = evaluate(server.port, tmp_path / "refused", settings=["--eah", "off", "--eah", "layer=99"])
    assert (refused.returncode, "this model has layers" in refused.stderr) == (1, True), refused.stderr
    for name in ("away", "refused"):
        assert not (tmp_path / name / "summary.json").exists()


def test_another_method_has_its_twin_and_the_curve(server: Server, tmp_path: Path) -> None:
    """A factor of 1 changes nothing, whichever heads it has; the twin's heads are others for each picture and draw."""
    same = "vhr,factor=1,heads=random,seed=3"
    settings = ["--setting", "off", "--setting", "vhr,factor=3", "--setting", same]
    done = evaluate(server.port, tmp_path, "--captions-only", settings=settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("vhr,factor=3 changes CHAIRs by ")
    rows = {row["setting"]: row for row in json.loads((tmp_path / "summary.json").read_text())}
    twin = "vhr,factor=3,heads=random"
    assert list(rows)[:4] == ["off", "vhr,factor=3", same, twin]
    assert (rows["vhr,factor=3"]["twin"], rows[twin]["draws"]["number"], len(rows)) == (twin, 5, 11)
    assert [name for name, row in rows.items() if "against_sooner" in row] == ["vhr,factor=3", same, twin]
    assert rows[same]["against_sooner"]["chairs_at_equal_recall"]["difference"] == 0
    said: dict[str, dict[str, str]] = {}
    heads: dict[str, set[tuple[int, ...]]] = {}
    for line in lines(tmp_path):
        said.setdefault(line["setting"], {})[line["question"]] = line["text"]
        for layer in (line["methods"] or {"vhr": {"layers": []}})["vhr"]["layers"]:
            heads.setdefault(line["setting"], set()).add((layer["layer"], *layer["heads"]))
            assert len(layer["heads"]) == 4, "half of the heads"
    assert said[same] == said["off"] != said["vhr,factor=3"]
    drawn = [heads[f"{twin},seed={seed}"] for seed in range(5)]
    assert all(len(one) > 2 * len({layer for layer, *_ in one}) for one in drawn), "others for each picture"
    assert len(set.union(*drawn)) > 2 * len(drawn[0]), "others for each draw"
    assert "| vhr,factor=3 |" in (tmp_path / "table.md").read_text()


def test_what_settings_cost(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "REQUESTS", {1: 1, 2: 2})
    asked = Asked(f"{server.url}/v1", "scenes", API_KEY, end_token_id=2)
    settings = [parse_setting(text) for text in ("off", "vhr", "verify")]
    cost = measure.measure_cost(asked, ScenesTask(3), settings, 2, tmp_path)
    assert measure.kept_cost(tmp_path) == cost
    assert list(cost["settings"]) == ["vhr"], "nothing is generated otherwise where the answer is checked afterwards"
    vhr = cost["settings"]["vhr"]
    assert {at_once: len(one["values"]) for at_once, one in vhr["per_token"].items()} == {"1": 2, "2": 2}
    assert all(value > 0 for one in vhr["per_token"].values() for value in one["values"])
    assert set(vhr["first_token_ms"]) == set(cost["first_over_first"]) == {"1", "2"}
