"""Engines shared by the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.driver import Engine


@pytest.fixture(scope="session")
def gqa_engine(gqa_checkpoint: Path) -> Iterator[Engine]:
    """vLLM with the plugin, Model Runner V1, one rank: what the other engines are compared with."""
    with Engine(gqa_checkpoint) as engine:
        yield engine
