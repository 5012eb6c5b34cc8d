"""What `eah-vllm serve` hands to vLLM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from eah_vllm_server.__main__ import allow_plugins, complete, configs_dir, main, serve_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from eah_vllm.scenes import MODEL_PATH

SCENES = str(configs_dir() / "scenes.yaml")


@pytest.fixture(scope="module")
def parser() -> FlexibleArgumentParser:
    return serve_parser()[0]


@pytest.mark.parametrize(
    ("argv", "handed_on"),
    [
        ([], [str(MODEL_PATH), "--config", SCENES]),
        (["--port", "80"], [str(MODEL_PATH), "--config", SCENES, "--port", "80"]),
        (["--config", "scenes"], [str(MODEL_PATH), "--config", SCENES]),
        (["--config=scenes", "--port", "80"], [str(MODEL_PATH), "--config", SCENES, "--port", "80"]),
        (["a/model", "--served-model-name", "scenes"], ["a/model", "--served-model-name", "scenes"]),
        (["--model", "a/model"], ["--model", "a/model"]),
        (["--config", "llava-1.5-7b"], ["--config", str(configs_dir() / "llava-1.5-7b.yaml")]),
        (["--config", "my.yaml"], ["--config", "my.yaml"]),
        (["a/model", "--config", "scenes"], ["a/model", "--config", SCENES]),
        (["--port", "9000", "a/model"], ["a/model", "--port", "9000"]),
        (["--port=9000", "a/model"], ["a/model", "--port=9000"]),
        (["--enforce-eager", "a/model"], ["a/model", "--enforce-eager"]),
        (["--max_model_len", "1k", "a/model", "--seed", "1"], ["a/model", "--max_model_len", "1k", "--seed", "1"]),
        (["--api-key", "a", "b"], [str(MODEL_PATH), "--config", SCENES, "--api-key", "a", "b"]),
        (["--api-key", "a", "--seed", "1", "a/model"], ["a/model", "--api-key", "a", "--seed", "1"]),
        (["--served-model-name", "x", "--seed", "1", "x"], ["x", "--served-model-name", "x", "--seed", "1"]),
        (["--port", "9000", "--model", "a/model"], ["--port", "9000", "--model", "a/model"]),
        (["--port", "9000", "--model=a/model"], ["--port", "9000", "--model=a/model"]),
        (["--seed", "1", "--config", "scenes", "a/model"], ["a/model", "--seed", "1", "--config", SCENES]),
        (["--config", "my.yaml", "--port", "9000"], ["--config", "my.yaml", "--port", "9000"]),
        (["--port", "9000", "--config", "scenes"], [str(MODEL_PATH), "--port", "9000", "--config", SCENES]),
        (["--additional-config.eah.layer", "1", "a/model"], ["a/model", "--additional-config.eah.layer", "1"]),
    ],
)
def test_arguments(argv: list[str], handed_on: list[str], parser: FlexibleArgumentParser) -> None:
    assert complete(argv, parser) == handed_on


def test_a_file_may_name_the_model(tmp_path: Path, parser: FlexibleArgumentParser) -> None:
    """What vLLM makes of what is handed on, with options before or after."""
    config = tmp_path / "my.yaml"
    config.write_text("model: their/model\nseed: 7\n")
    for argv in (["--config", str(config), "--port", "9000"], ["--port", "9000", f"--config={config}"]):
        read = parser.parse_args(["serve", *complete(argv, parser)])
        assert (read.model_tag or read.model, read.port, read.seed) == ("their/model", 9000, 7)
        named = parser.parse_args(["serve", *complete([*argv, "a/model"], parser)])
        assert (named.model_tag, named.port, named.seed) == ("a/model", 9000, 7)


def test_our_plugin_joins_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "theirs")
    allow_plugins()
    assert os.environ["VLLM_PLUGINS"] == "eah,theirs"
    monkeypatch.delenv("VLLM_PLUGINS")
    allow_plugins()
    assert "eah" in os.environ["VLLM_PLUGINS"].split(",")


# What vLLM loads after our command has written the allow-list.
LOAD = """
from eah_vllm_server.__main__ import allow_plugins
allow_plugins()
from vllm.plugins import load_endpoint_plugins, load_general_plugins
load_general_plugins()
print("endpoints:", *sorted(plugin.name for plugin in load_endpoint_plugins(("generate",))))
"""
THEIR_PACKAGE = """
class Routes:
    name = "theirs"
    required_tasks = None
    def attach_router(self, app): pass
    async def init_state(self, engine_client, state, args): pass
def register(): print("general: theirs")
"""


@pytest.mark.parametrize(
    ("routes", "allowed", "loaded"),
    [
        ("their_routes", None, ["general: theirs", "endpoints: eah"]),
        ("theirs", "eah,theirs", ["general: theirs", "endpoints: eah theirs"]),
        ("theirs", "eah", ["endpoints: eah"]),
        ("theirs", None, None),
    ],
)
def test_only_our_routes_are_opened_unless_others_are_named(
    routes: str, allowed: str | None, loaded: list[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "their_package.py").write_text(THEIR_PACKAGE)
    installed = tmp_path / "their_package-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        f"[vllm.general_plugins]\ntheirs = their_package:register\n"
        f"[vllm.endpoint_plugins]\n{routes} = their_package:Routes\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "VLLM_PLUGINS"}
    environment |= {"PYTHONPATH": str(tmp_path)} | ({} if allowed is None else {"VLLM_PLUGINS": allowed})
    run = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=False)
    if loaded is not None:
        said = [line for line in run.stdout.splitlines() if line.startswith(("general:", "endpoints:"))]
        assert said == loaded, run.stderr[-3000:]
        return
    assert run.returncode == 1
    assert "theirs (their_package:Routes)" in run.stderr
    both, ours = (line.split(";")[0].split(",") for line in run.stderr.strip().split("VLLM_PLUGINS=")[1:])
    assert {"eah", "theirs"} <= set(both)
    assert set(both) - set(ours) == {"theirs"}


def test_a_server_without_our_routes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["eah-vllm", "serve", "--grpc"])
    for name in ("VLLM_PLUGINS", "VLLM_WORKER_MULTIPROC_METHOD"):  # set by the command; restored with this test
        monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit):
        main()
    assert "--grpc starts a server that loads no endpoint plugin" in capsys.readouterr().err
