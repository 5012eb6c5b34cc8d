"""What we use of vLLM is as expected in the installed one; where it is not, it is found, named and refused at start."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from eah_vllm_server.vllm_names import NAMES as SERVER_NAMES

from eah_vllm.contract.check import ContractError, broken_names, check, needed_at_start, supported_range
from eah_vllm.contract.name import Name
from eah_vllm.contract.names import NAMES
from eah_vllm.contract.source import installed

ROOT = Path(__file__).parents[2]
SOURCE = installed()


def test_the_installed_vllm_is_as_expected() -> None:
    assert broken_names(NAMES + SERVER_NAMES, SOURCE) == []


@pytest.mark.parametrize("module", ["eah_vllm.contract", "eah_vllm_server.vllm_names"])
def test_the_verdict_can_be_asked_for(module: str) -> None:
    asked = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert asked.stdout.endswith("all as expected\n")


def test_the_package_asks_for_the_supported_range() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["cuda"] == [f"vllm{supported_range()}"]


REQUEST = "vllm.v1.request"


@pytest.mark.parametrize(
    ("name", "expected", "found"),
    [
        (Name("vllm.v2.request", "Request", ""), "this name", "no module vllm.v2.request"),
        (Name(REQUEST, "Demand", ""), "this name", "nothing of this name"),
        (Name(REQUEST, "Request.update_hashes", ""), "this name", "nothing of this name"),
        (Name(REQUEST, "Request", "", fields="cache_salt pepper"), "an attribute pepper", "none"),
        (Name(REQUEST, "Request", "", fields="is_finished"), "an attribute is_finished", "a method is_finished"),
        (
            Name(REQUEST, "Request.append_output_token_ids", "", calls="tokens"),
            "that it can be called as (tokens)",
            "(token_ids)",
        ),
        (
            Name("vllm.v1.core.sched.scheduler", "Scheduler.add_request", "", overrides="request, when"),
            "the parameters (request, when)",
            "(request)",
        ),
        (
            Name("vllm.distributed", "tensor_model_parallel_all_reduce", "", calls=""),
            "that it can be called as ()",
            "(input_), which also needs input_",
        ),
        (Name("vllm.engine.protocol", "EngineClient.is_running", "", calls=""), "a function", "none"),
        (Name(REQUEST, "Request.update_block_hashes", "", calls="", awaited=True), "async def", "none"),
        (Name(REQUEST, "Request.update_block_hashes", "", reads="pepper"), "code that mentions pepper", "none"),
        (Name(REQUEST, "Request.update_block_hashes", "", code="self.hash()"), "code with self.hash()", "none"),
        (
            Name("vllm.plugins", "DEFAULT_PLUGINS_GROUP", "", equals="vllm.plugins"),
            "'vllm.plugins'",
            "'vllm.general_plugins'",
        ),
        (
            Name(REQUEST, "Request", "", closed="has_*: has_tail"),
            "has_* to be has_tail",
            "has_encoder_inputs",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Name) else "",
)
def test_a_difference_is_found_and_named(name: Name, expected: str, found: str) -> None:
    (broken,) = broken_names([name], SOURCE)
    assert str(broken).startswith(f"{name}: expected {expected}, found {found}")


def test_the_error_says_what_to_do() -> None:
    wrong = [
        Name(REQUEST, "Demand", "cache isolation"),
        Name(REQUEST, "Request.update_block_hashes", "cache isolation", calls="salt", part="V1"),
    ]
    with pytest.raises(ContractError) as error:
        check([*NAMES, *wrong])
    lines = str(error.value).splitlines()
    assert lines[0].startswith("eah_vllm ")
    assert "does not fit the installed vLLM 0." in lines[0]
    assert lines[1:] == [
        "- vllm.v1.request.Demand: expected this name, found nothing of this name (used for: cache isolation)",
        "- vllm.v1.request.Request.update_block_hashes: expected that it can be called as (salt), found () "
        "(used for: cache isolation, V1)",
        f"Supported is vllm{supported_range()}. Install one that fits, or run plain vLLM with EAH_DISABLE=1.",
    ]


def changed_vllm(folder: Path, file: str, before: str, after: str) -> Path:
    """A vLLM that is the installed one, by links, but for one file; returns what to put into PYTHONPATH."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source, copy = Path(spec.origin).parent, folder / "vllm"
    folder.mkdir(exist_ok=True)
    for depth in range(len(Path(file).parts)):
        within = Path(*Path(file).parts[:depth])
        (copy / within).mkdir()
        for entry in (source / within).iterdir():
            if entry.name not in (Path(file).parts[depth], "__pycache__"):
                (copy / within / entry.name).symlink_to(entry)
    text = (source / file).read_text()
    assert before in text
    (copy / file).write_text(text.replace(before, after))
    return folder


LOAD_PLUGINS = "import vllm.platforms; from vllm.plugins import load_general_plugins as load; load()"
ATTACH_ROUTES = """
from argparse import Namespace
from fastapi import FastAPI
from vllm.plugins.endpoint_plugins.interface import attach_endpoint_plugins
app = FastAPI()
app.state.args = Namespace(additional_config=None, api_key=None, middleware=[])
attach_endpoint_plugins(app, ("generate",))
"""


def run_changed(folder: Path, change: tuple[str, str, str], *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(changed_vllm(folder, *change)), str(ROOT), str(ROOT / "server")])
    environment = os.environ | {"VLLM_PLUGINS": "eah", "PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("change", "start", "refused"),
    [
        (
            ("v1/core/kv_cache_utils.py", "request.cache_salt", "request.cache_pepper"),
            LOAD_PLUGINS,
            "kv_cache_utils.generate_block_hash_extra_keys: expected code with .cache_salt, found none",
        ),
        (
            ("v1/worker/cpu_worker.py", "class CPUWorker(Worker):", "class CPUWorker:"),
            LOAD_PLUGINS,
            "vllm.v1.worker.cpu_worker.CPUWorker.execute_model: expected this name, found nothing of this name",
        ),
        (
            ("v1/core/sched/scheduler.py", "_try_schedule_encoder_inputs", "_try_schedule_encoders"),
            LOAD_PLUGINS,
            "vllm.v1.core.sched.scheduler.Scheduler._try_schedule_encoder_inputs: expected this name, found nothing",
        ),
        (
            ("v1/attention/backends/cpu_attn.py", "(num_blocks, num_kv_heads, block_size * 2, -1)", "self.shape"),
            LOAD_PLUGINS,
            "cpu_attn.CPUAttentionBackendImpl.forward: expected code with kv_cache.view(",
        ),
        (
            (
                "entrypoints/openai/chat_completion/protocol.py",
                "self.vllm_xargs if self.vllm_xargs else {}",
                "{}",
            ),
            ATTACH_ROUTES,
            "protocol.ChatCompletionRequest.to_sampling_params: expected code that mentions vllm_xargs, found none",
        ),
        (
            ("entrypoints/openai/chat_completion/protocol.py", "use_beam_search", "beam_search"),
            ATTACH_ROUTES,
            "protocol.ChatCompletionRequest.use_beam_search: expected this name, found nothing of this name",
        ),
        (
            ("plugins/endpoint_plugins/interface.py", "attach_router(", "attach_routes("),
            "import eah_vllm_server.__main__ as command, sys; sys.argv[1:] = ['serve']; command.main()",
            "vllm.plugins.endpoint_plugins.interface.EndpointPlugin.attach_router: expected this name, found nothing",
        ),
    ],
    ids=["plugin", "worker", "scheduler", "layout", "server", "beam search", "command"],
)
def test_a_changed_vllm_is_refused_at_start(
    change: tuple[str, str, str], start: str, refused: str, tmp_path: Path
) -> None:
    """Changes that nobody would notice: EAH and plain requests share cached blocks; `eah` is lost on its way."""
    run = run_changed(tmp_path, change, "-c", start)
    assert run.returncode == 1
    assert refused in run.stderr


@pytest.mark.parametrize(
    ("change", "start", "command", "found"),
    [
        (
            ("v1/attention/backends/flashinfer.py", "attn_metadata: FlashInferMetadata,", "metadata: object,"),
            LOAD_PLUGINS,
            "eah_vllm.contract",
            "flashinfer.FlashInferImpl.forward: expected the parameters (layer, query, key, value, kv_cache, attn_",
        ),
        (
            ("v1/core/sched/scheduler.py", "self.vllm_config = vllm_config", "self.configuration = vllm_config"),
            LOAD_PLUGINS,
            "eah_vllm.contract",
            "Scheduler.__init__: expected code with self.vllm_config = vllm_config, found none",
        ),
        (
            ("entrypoints/openai/responses/serving.py", "[response_id] = task", "[response_id] = job"),
            ATTACH_ROUTES,
            "eah_vllm_server.vllm_names",
            "_create_responses: expected code with self.background_tasks[response_id] = task, found none",
        ),
    ],
    ids=["another platform", "plugin", "server"],
)
def test_what_is_not_silent_stops_no_server_and_is_found_on_request(
    change: tuple[str, str, str], start: str, command: str, found: str, tmp_path: Path
) -> None:
    assert run_changed(tmp_path / "start", change, "-c", start).returncode == 0
    asked = run_changed(tmp_path / "command", change, "-m", command)
    assert asked.returncode == 1
    assert found in asked.stdout


ONE_ROW = """
from eah_vllm.contract.check import check_at_start
from eah_vllm.contract.name import Name
check_at_start((Name("vllm.v1.request", {name!r}, "a test"),))
"""


@pytest.mark.parametrize(
    ("version", "name", "says"),
    [
        ("0.32.5", "Demand", ""),
        ("0.35.0", "Request", "EAH: vLLM 0.35.0 is not one of the tested >=0.32,<0.34; every name that EAH uses is"),
        ("0.35.0", "Demand", "vllm.v1.request.Demand: expected this name, found nothing of this name"),
        ("0.31.1", "Demand", "does not fit the installed vLLM 0.31.1"),
    ],
)
def test_a_version_that_nobody_tried_is_compared_as_a_whole(version: str, name: str, says: str, tmp_path: Path) -> None:
    installed_version = SOURCE.find("vllm._version", "__version__")
    assert installed_version is not None
    change = ("_version.py", f"'{installed_version.constant()}'", f"'{version}'")
    run = run_changed(tmp_path, change, "-c", ONE_ROW.format(name=name))
    assert (run.returncode == 0) == (name == "Request" or not says)
    assert says in run.stderr


def test_the_check_at_start_loads_nothing() -> None:
    code = (
        "import sys; from eah_vllm.contract.check import check_at_start; from eah_vllm.contract.names import SERVING; "
        "from eah_vllm_server.vllm_names import NAMES; before = set(sys.modules); "
        "check_at_start(SERVING); check_at_start(NAMES); print(set(sys.modules) - before, 'vllm' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "set() False\n", run.stderr


def test_every_hook_and_all_that_is_silent_is_needed_at_start() -> None:
    rows = [row for row in NAMES + SERVER_NAMES if row.part not in ("CPU", "GPU")]  # those depend on the platform
    assert {row for row in rows if row.overrides is not None or row.silent} <= set(needed_at_start(rows))
