"""What `eah-vllm serve` hands to vLLM."""

import os

import pytest
from eah_vllm_server.__main__ import allow_plugins, complete, configs_dir, main

from eah_vllm.scenes import MODEL_PATH

SCENES = str(configs_dir() / "scenes.yaml")


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
    ],
)
def test_arguments(argv: list[str], handed_on: list[str]) -> None:
    assert complete(argv) == handed_on


def test_our_plugin_joins_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "theirs")
    allow_plugins()
    assert os.environ["VLLM_PLUGINS"] == "eah,theirs"
    monkeypatch.delenv("VLLM_PLUGINS")
    allow_plugins()
    assert "eah" in os.environ["VLLM_PLUGINS"].split(",")


def test_a_server_without_our_routes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["eah-vllm", "serve", "--grpc"])
    for name in ("VLLM_PLUGINS", "VLLM_WORKER_MULTIPROC_METHOD"):  # set by the command; restored with this test
        monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit):
        main()
    assert "--grpc starts a server that loads no endpoint plugin" in capsys.readouterr().err
