"""One process with the plugin and one without serve all families, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.driver import Engine, Spare
from tests.models.families import FAMILIES, REFUSED
from tests.models.family import Family, folder_to_serve, make_checkpoint
from tests.models.reference import Reference


@dataclass(frozen=True, slots=True)
class Served:
    """A family's checkpoint, served with the plugin, and as transformers runs it."""

    family: Family
    path: Path
    engine: Engine
    reference: Reference


class Shared:
    """A process that serves one family after the other."""

    def __init__(self, **process: Any) -> None:
        self._spare = Spare(**process)

    def serving(self, family: Family, path: Path, **more: Any) -> Engine:
        limits = {"image": family.max_images, "video": 0}
        options: dict[str, Any] = {"limit_mm_per_prompt": limits, "max_num_seqs": 4} | more
        options["trust_remote_code"] = family.remote_code
        return self._spare.serving(path, **options)

    def close(self) -> None:
        self._spare.close()


@pytest.fixture(scope="session")
def ours() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def stock() -> Iterator[Shared]:
    shared = Shared(env={"VLLM_PLUGINS": ""})
    yield shared
    shared.close()


def serve(ours: Shared, family: Family, path: Path, **options: Any) -> Served:
    reference = Reference(family, make_checkpoint(family, path))
    path = folder_to_serve(family, path)
    return Served(family, path, ours.serving(family, path, **options), reference)


@pytest.fixture(scope="module", params=list(FAMILIES))
def served(request: pytest.FixtureRequest, ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(ours, FAMILIES[request.param], tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module", params=list(REFUSED))
def refused(request: pytest.FixtureRequest, ours: Shared, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(ours, REFUSED[request.param], tmp_path_factory.mktemp("refused"))
