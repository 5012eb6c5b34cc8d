"""Every shipped configuration is one that `eah-vllm serve --config NAME` can start from; no engine is started here."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from eah_vllm_server.__main__ import complete, configs_dir, serve_parser

from eah_vllm.options import EngineDefaults

CONFIGS = sorted(configs_dir().glob("*.yaml"))


def parse(*argv: str) -> argparse.Namespace:
    """What `eah-vllm serve ARGV` hands to vLLM, read by vLLM's own parser."""
    parser, command = serve_parser()
    arguments = parser.parse_args(["serve", *complete(list(argv), parser)])
    command.validate(arguments)
    return arguments


def test_the_configurations_are_found() -> None:
    assert {path.stem for path in CONFIGS} >= {"scenes", "llava-1.5-7b", "llava-1.5-13b"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_vllm_reads_it(path: Path) -> None:
    arguments = parse("--config", path.stem)
    assert arguments.model_tag or arguments.model
    assert arguments.served_model_name == [path.stem], "a configuration serves its model under its own name"
    EngineDefaults(**(arguments.additional_config or {}).get("eah", {}))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_line_wins(path: Path) -> None:
    assert parse("--config", path.stem, "--max-model-len", "123").max_model_len == 123


def test_the_llava_configurations_carry_the_papers_values() -> None:
    for name in ("llava-1.5-7b", "llava-1.5-13b"):
        fields = parse("--config", name).additional_config["eah"]
        assert EngineDefaults(**fields).options().model_dump(exclude_none=True) == {"layer": 1, "threshold": 0.002}


def test_a_misspelt_option_is_refused(tmp_path: Path) -> None:
    """So a green run of the tests above means something."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: somewhere\nmax-modell-len: 512\n")
    with pytest.raises(SystemExit):
        parse("--config", str(bad))
