"""Engines shared by the tests of this folder; `tests/jobs.py` runs the files that share them in one job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.driver import V2_PYTHON, Engine, Spare


@pytest.fixture(scope="session")
def gqa_engine(gqa_checkpoint: Path) -> Iterator[Engine]:
    """vLLM with the plugin, Model Runner V1, one rank: what the other engines are compared with."""
    with Engine(gqa_checkpoint) as engine:
        yield engine


@pytest.fixture(scope="session")
def spare() -> Iterator[Spare]:
    """A process with the plugin, Model Runner V1 and one rank, for engines with other options."""
    spare = Spare()
    yield spare
    spare.close()


@pytest.fixture(scope="session")
def spare_v2() -> Iterator[Spare]:
    """The same with Model Runner V2, by Triton's interpreter."""
    spare = Spare(python=V2_PYTHON, env={"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"})
    yield spare
    spare.close()
