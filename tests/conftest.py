"""Shared fixtures: tiny random checkpoints, and settings that keep tests quick and repeatable on a small machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests.checkpoints import GQA, LONG_CONTEXT, MHA, TENSOR_PARALLEL_2, UNUSUAL, make_llava
from tests.jobs import Scheduler, in_order

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Several engines share this machine, and vLLM would bind each of them to the same core.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# Derandomised: a red run is red again for whoever looks into it. `--hypothesis-profile=search` looks for new cases.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = in_order(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler | None:
    return Scheduler(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def mha_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("mha"), MHA)


@pytest.fixture(scope="session")
def gqa_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("gqa"), GQA)


@pytest.fixture(scope="session")
def long_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("long"), LONG_CONTEXT)


@pytest.fixture(scope="session")
def unusual_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("unusual"), UNUSUAL)


@pytest.fixture(scope="session")
def tensor_parallel_2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("tensor_parallel_2"), TENSOR_PARALLEL_2)
