"""The tables of what we use of vLLM are complete, as far as our sources show it, and vLLM's source is read rightly."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from eah_vllm_server.vllm_names import NAMES as SERVER_NAMES

from eah_vllm.contract.name import Name
from eah_vllm.contract.names import NAMES
from eah_vllm.contract.source import installed

ROOT = Path(__file__).parents[2]
V2_PYTHON = os.environ.get("EAH_V2_PYTHON", str(ROOT / ".venv-v2" / "bin" / "python"))
SOURCE = installed()


def product_sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("eah_vllm", "server/eah_vllm_server"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def imported_from_vllm(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Name here, module there, name there ("" for a module)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
            for alias in node.names:
                is_module = SOURCE.has_module(f"{node.module}.{alias.name}")
                where = (f"{node.module}.{alias.name}", "") if is_module else (node.module or "", alias.name)
                yield alias.asname or alias.name, *where
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name, a.name, "") for a in node.names if a.name.split(".")[0] == "vllm")


def listed(path: str) -> tuple[Name, ...]:
    return NAMES if path.startswith("eah_vllm/") else SERVER_NAMES


def defined_at(name: Name) -> tuple[str, str]:
    """Where vLLM defines the class or function that a name belongs to."""
    owner = name.name.partition(".")[0]
    found = SOURCE.find(name.module, owner)
    return (found.module if found is not None else name.module), owner


def test_every_import_is_in_the_table() -> None:
    for path, tree in product_sources():
        known = {(name.module, name.name.partition(".")[0]) for name in listed(path)}
        modules = {name.module for name in listed(path)}
        for _, module, name in imported_from_vllm(tree):
            assert (module, name) in known or (not name and module in modules), f"{path}: {module} {name}"


def held_in(function: ast.AST, types: set[str]) -> set[str]:
    """Names of parameters of these types, and of what is taken from them: `parallel = vllm_config.parallel_config`."""
    held: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.arg(arg=name, annotation=ast.Name(id=of) | ast.Constant(value=of)) if of in types:
                held.add(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute() as value) if chain(value)[0] in held:
                held.add(name)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = zip(targets, values, strict=True)
                held |= {ast.unparse(target) for target, value in pairs if chain(value)[0] in held}
    return held


def chain(node: ast.expr) -> list[str]:
    """`a.b.c` as a, b, c."""
    inner = [*chain(node.value), node.attr] if isinstance(node, ast.Attribute) else []
    return inner or ([node.id] if isinstance(node, ast.Name) else [""])


def test_every_attribute_that_is_read_is_in_the_table() -> None:
    """Of imported objects (`CUDAGraphMode.FULL`) and of parameters of vLLM's types (`vllm_config.cache_config`)."""
    seen = set()
    for path, tree in product_sources():
        imports = {here for here, _, _ in imported_from_vllm(tree)}
        words = {word for name in listed(path) for word in (*name.fields.split(), *name.name.split("."))}
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            roots = imports | held_in(function, imports)
            for node in ast.walk(function):
                root, *attributes = chain(node) if isinstance(node, ast.Attribute) else [""]
                if root in roots and isinstance(node.ctx, ast.Load):
                    seen.add(f"{root}.{'.'.join(attributes)}")
                    assert set(attributes) <= words | PYTHONS, f"{path}: {root}.{'.'.join(attributes)}"
    assert {"CUDAGraphMode.FULL", "request.cache_salt", "vllm_config.cache_config"} <= seen
    assert "vllm_config.scheduler_config.async_scheduling" in seen


PYTHONS = {"clear", "get", "tolist", "num_hidden_layers", "num_attention_heads", "items", "name"}
"""Attributes of what vLLM holds, not of vLLM: lists, dicts, arrays, the checkpoint's own configuration."""

MIXINS = {
    "EAHAttentionMixin": [("vllm.v1.attention.backend", "AttentionImpl")],
    "EAHSchedulerMixin": [
        ("vllm.v1.core.sched.scheduler", "Scheduler"),
        ("vllm.v1.core.sched.async_scheduler", "AsyncScheduler"),
    ],
    "EAHWorkerMixin": [("vllm.v1.worker.cpu_worker", "CPUWorker"), ("vllm.v1.worker.gpu_worker", "Worker")],
    "EAHModelStateMixin": [("vllm.v1.worker.gpu.model_states.default", "DefaultModelState")],
    "EAHEndpointPlugin": [("vllm.plugins.endpoint_plugins.interface", "EndpointPlugin")],
}
"""Our classes that are put before one of vLLM's, or follow its protocol, without naming it as a base."""


def test_every_method_that_replaces_one_of_vllms_is_in_the_table() -> None:
    seen = set()
    for path, tree in product_sources():
        imports = list(imported_from_vllm(tree))
        replaced = {(*defined_at(name), name.name.partition(".")[2]) for name in listed(path)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            bases = [(module, name) for here, module, name in imports if here in names]
            for module, base in bases + MIXINS.get(node.name, []):
                owner = SOURCE.find(module, base)
                assert owner is not None
                for method in node.body:
                    if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                        continue
                    theirs = SOURCE.member(owner, method.name)
                    if theirs is not None and (method.name != "__init__" or "super()" in ast.unparse(method)):
                        seen.add(f"{node.name}.{method.name}")
                        assert (owner.module, base, method.name) in replaced, f"{path}: {base}.{method.name}"
    assert {"EAHAttentionMixin.forward", "EAHModelStateMixin.prepare_attn", "EAHWorkerMixin.execute_model"} <= seen


def tell_differences_when_imported() -> None:
    """Names that Python sees otherwise than `contract.source` reads them, and modules that cannot be imported here."""
    wrong, unimported = [], []
    for name in NAMES + SERVER_NAMES:
        try:
            value = importlib.import_module(name.module)
        except ImportError as error:
            unimported.append(f"{name.module} ({name.part}): {error}")
            continue
        for part in filter(None, name.name.split(".")):
            # pydantic and dataclasses keep a field without a plain default only as an annotation
            value = getattr(value, part, getattr(value, "__annotations__", {}).get(part))
        found = SOURCE.find(name.module, name.name)
        if value is None or found is None:
            wrong.append(f"{name}: {value}")
        elif found.is_function and (name.calls is not None or name.overrides is not None):
            kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
            signature = inspect.signature(inspect.unwrap(value)).parameters.values()
            names = [kinds.get(parameter.kind, "") + parameter.name for parameter in signature]
            names = names[1:] if names[:1] == ["self"] else names
            read = [parameter.name for parameter in found.parameters()]
            if names != read:
                wrong.append(f"{name}: {names}, read as {read}")
    sys.stdout.write("\n" + json.dumps({"wrong": wrong, "unimported": sorted(set(unimported))}) + "\n")


def test_python_sees_what_was_read() -> None:
    """In the environment that has Triton, so that Model Runner V2 can be imported too."""
    code = "from tests.contract import test_vllm_names as this; this.tell_differences_when_imported()"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    run = subprocess.run([V2_PYTHON, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert all("(GPU)" in line for line in told["unimported"]), told["unimported"]
