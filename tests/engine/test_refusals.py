"""What cannot work is refused at start, by a sentence that names the option; with EAH_DISABLE=1 vLLM decides alone.

One process builds every engine configuration, as `vllm serve` does before it starts an engine, and starts none.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import ROOT


@dataclasses.dataclass(frozen=True)
class Case:
    """Options of an engine, and what the refusal says."""

    options: dict[str, Any]
    says: str
    of_vllm: str | None = None
    """What vLLM itself says where EAH is off; None: it takes these options."""
    checkpoint: str = "llava"
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


def eah(**defaults: Any) -> dict[str, Any]:
    return {"additional_config": {"eah": defaults}}


V2_ONLY = "requires Model Runner V2"
CASES = {
    "decode_context_parallel": Case(
        {"tensor_parallel_size": 2, "decode_context_parallel_size": 2},
        "--decode-context-parallel-size spreads one head's keys over ranks; set it to 1",
        "Decode context parallelism for GQA/MQA requires",
    ),
    "prefill_context_parallel": Case(
        {"prefill_context_parallel_size": 2},
        "--prefill-context-parallel-size spreads a prompt's rows over ranks; set it to 1",
        "prefill context parallel",
    ),
    "dual_batch_overlap": Case(
        {"enable_dbo": True}, "--enable-dbo and --ubatch-size run a batch in parts; leave them unset"
    ),
    "micro_batches": Case(
        {"ubatch_size": 2}, "--enable-dbo and --ubatch-size run a batch in parts", "Microbatching currently only"
    ),
    "scheduler": Case({"scheduler_cls": "vllm.v1.core.sched.scheduler.Scheduler"}, "--scheduler-cls is taken"),
    "worker": Case(
        {"worker_cls": "vllm.v1.worker.cpu_worker.CPUWorker"},
        "--worker-cls vllm.v1.worker.cpu_worker.CPUWorker is not known; leave it unset",
    ),
    "cuda_graphs_of_prompts": Case(
        {"compilation_config": {"cudagraph_mode": "FULL"}}, "cudagraph_mode FULL captures prompts too"
    ),
    "speculative_decoding_on_v1": Case(
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
        "speculative decoding on Model Runner V1 accepts no request check; use Model Runner V2",
    ),
    "drafts_of_generated_rows": Case(
        eah(methods=["vhr", "eah"]) | {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
        "vhr (eah.methods) acts on generated rows, and nobody knows whether that is right with the drafts",
    ),
    "sampling_mask": Case({"return_sampling_mask": True}, "--return-sampling-mask accepts no request check", V2_ONLY),
    "latent_attention": Case(
        {}, "the model's latent attention (MLA) keeps no separate heads; serve another --model", checkpoint="mla"
    ),
    "kv_connector_keyed_by_tokens": Case(
        {"kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}}, "--kv-transfer-config"
    ),
    "prefill_decode_disaggregation": Case(
        {"kv_transfer_config": {"kv_connector": "NixlConnector", "kv_role": "kv_producer"}}, "--kv-transfer-config"
    ),
    "kv_offloading": Case({"kv_offloading_size": 1}, "--kv-offloading-size"),
    "fast_prefill": Case({"kv_sharing_fast_prefill": True}, "--kv-sharing-fast-prefill leaves prompt rows out"),
    "prefix_reuse_of_quantized_kv": Case(
        eah(prefix_reuse=True) | {"kv_cache_dtype": "fp8"}, "eah.prefix_reuse cannot read --kv-cache-dtype fp8"
    ),
    "rust_frontend": Case(
        {}, "VLLM_USE_RUST_FRONTEND replaces the server that checks", environment={"VLLM_USE_RUST_FRONTEND": "1"}
    ),
    "unknown_default": Case(eah(thresh=0.1), "--additional-config eah.thresh: unknown option; known are report, "),
    "unknown_method": Case(
        eah(methods=["eah", "vcd"]),
        "--additional-config eah.methods: no method is called 'vcd'; known are eah",
    ),
    "methods_of_a_checkpoint": Case(
        {"hf_overrides": {"eah": {"methods": ["vcd"]}}}, "config.json: eah.methods: no method is called 'vcd'"
    ),
    "methods_are_no_list": Case(eah(methods=5), "--additional-config eah.methods: Input should be"),
    "default_of_a_method_that_is_not_enabled": Case(
        {"additional_config": {"vhr": {"factr": 2}}}, "--additional-config vhr.factr: unknown option; known"
    ),
    "bad_default": Case(eah(threshold=2), "--additional-config eah.threshold: Input should be less than 1, got 2"),
    "two_thresholds": Case(
        eah(threshold=0.1, relative_threshold=1),
        "--additional-config eah.relative_threshold: threshold and relative_threshold exclude each other",
    ),
    "defaults_are_no_object": Case(
        {"additional_config": {"eah": True}}, "--additional-config eah must be an object of options, got True"
    ),
    "default_layer": Case(eah(layer=3), """eah.layer: this model has layers 0..2, got 3; set another with """),
    "default_head": Case(eah(head=8), "eah.head: this model has heads 0..7, got 8; set another with "),
    "default_of_a_preset": Case(eah(preset="released_code"), "eah.layer: this model has layers 0..2, got 15"),
    "one_layer": Case(
        {"hf_overrides": {"text_config": {"num_hidden_layers": 1}}}, "eah.layer: this model has layers 0..0, got 1"
    ),
    "any_model_without_images": Case(
        eah(any_model=True),
        "eah.any_model cannot try LlamaForCausalLM: it generates no text from images; leave it unset",
        checkpoint="text",
    ),
    "checkpoint_with_a_bad_default": Case(
        {"hf_overrides": {"eah": {"treshold": 1}}}, "the checkpoint's config.json: eah.treshold: unknown option"
    ),
}

DRIVER = """
import json, os, sys
from vllm.config import CUDAGraphMode
from vllm.engine.arg_utils import EngineArgs
from vllm.platforms.interface import UnspecifiedPlatform
from vllm.plugins import load_general_plugins
from eah_vllm.engine import refusals

def config(options, environment=()):
    os.environ.update(environment)
    try:
        return EngineArgs(**options).create_engine_config()
    finally:
        for name in environment:
            del os.environ[name]

def outcome(make, *arguments):
    try:
        made = make(*arguments)
    except ValueError as error:
        return "refused", str(error)
    return "accepted", made and [made.parallel_config.worker_cls, made.scheduler_config.max_num_scheduled_tokens]

load_general_plugins()
cases = json.load(sys.stdin)
answers = {name: outcome(config, *case) for name, case in cases.items()}
# What no configuration on a CPU leads to.
answers["unknown_platform"] = outcome(refusals.worker_class, "auto", UnspecifiedPlatform())
resolved = config(*cases["plain"])
resolved.compilation_config.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY
answers["graphs_of_decode_steps"] = outcome(refusals.refuse_resolved, resolved)
with_rows = config({**cases["plain"][0], "additional_config": {"eah": {"methods": ["eah", "vhr"]}}})
answers["generated_rows_without_graphs"] = outcome(refusals.refuse_resolved, with_rows)
with_rows.compilation_config.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY
answers["generated_rows_in_graphs"] = outcome(refusals.refuse_resolved, with_rows)
resolved.compilation_config.cudagraph_mode = CUDAGraphMode.FULL
answers["graphs_of_prompts"] = outcome(refusals.refuse_resolved, resolved)
json.dump(answers, open(sys.argv[1], "w"))
"""
Asked = dict[str, tuple[dict[str, Any], dict[str, str]]]
Outcomes = dict[str, tuple[str, Any]]


def outcomes(asked: Asked, folder: Path, **environment: str) -> Outcomes:
    """What becomes of each set of engine options, in one process."""
    answers = folder / "answers.json"
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, str(answers)],
        input=json.dumps(asked),
        env=os.environ | {"VLLM_USE_V2_MODEL_RUNNER": "0"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    read: Outcomes = json.loads(answers.read_text())
    return read


@pytest.fixture(scope="module")
def asked(mha_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    checkpoints = {
        "llava": mha_checkpoint,
        "mla": with_latent_attention(mha_checkpoint, tmp_path_factory),
        "text": language_model_alone(mha_checkpoint, tmp_path_factory),
    }
    small = {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 64 << 20, "max_num_seqs": 8}
    plain = Case({}, "")
    few_tokens = Case({"max_num_scheduled_tokens": 64} | eah(chunked_prefill=False), "")
    return {
        name: (small | {"model": str(checkpoints[case.checkpoint])} | case.options, case.environment)
        for name, case in (CASES | {"plain": plain, "few_tokens": few_tokens}).items()
    }


@pytest.fixture(scope="module")
def with_eah(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(asked, tmp_path_factory.mktemp("on"))


@pytest.fixture(scope="module")
def without_eah(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(asked, tmp_path_factory.mktemp("off"), EAH_DISABLE="1")


def with_latent_attention(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same LLaVA in front of a DeepSeek language model; no weights, for none are read here."""
    path = tmp_path_factory.mktemp("mla")
    shutil.copytree(checkpoint, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((path / "config.json").read_text())
    config["text_config"] |= {
        "model_type": "deepseek_v2",
        "architectures": ["DeepseekV2ForCausalLM"],
        "num_key_value_heads": 8,
        "kv_lora_rank": 512,
        "q_lora_rank": None,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 32,
        "v_head_dim": 32,
        "first_k_dense_replace": 3,
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def language_model_alone(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Llama of the same LLaVA; no weights, for none are read here."""
    path = tmp_path_factory.mktemp("text")
    shutil.copytree(checkpoint, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "*process*"))
    config = json.loads((path / "config.json").read_text())["text_config"] | {"architectures": ["LlamaForCausalLM"]}
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_supported_options_are_accepted(with_eah: Outcomes) -> None:
    assert with_eah["plain"] == ["accepted", ["eah_vllm.engine.cpu_worker.EAHCPUWorker", None]]


@pytest.mark.parametrize("name", CASES)
def test_refused(with_eah: Outcomes, name: str) -> None:
    kind, sentence = with_eah[name]
    assert kind == "refused", sentence
    assert CASES[name].says in sentence
    assert "eah" in sentence.lower() or sentence.partition("Value error, ")[2].startswith("--additional-config vhr")


@pytest.mark.parametrize("name", CASES)
def test_without_eah_vllm_decides(without_eah: Outcomes, name: str) -> None:
    kind, got = without_eah[name]
    of_vllm = CASES[name].of_vllm
    if of_vllm is None:
        assert kind == "accepted", got
        assert not got[0].startswith("eah_vllm"), "EAH was not off"
    else:
        assert kind == "refused"
        assert of_vllm in got
        assert "EAH" not in got


def test_methods_of_generated_rows_are_refused_with_graphs_that_nobody_tells_whose_rows_they_have(
    with_eah: Outcomes,
) -> None:
    assert with_eah["generated_rows_without_graphs"][0] == "accepted"
    kind, sentence = with_eah["generated_rows_in_graphs"]
    assert kind == "refused"
    assert "vhr (eah.methods) acts on generated rows; set cudagraph_mode to PIECEWISE" in sentence


def test_a_whole_prompt_always_has_room(with_eah: Outcomes) -> None:
    """With chunked prefill off, vLLM never schedules a prompt above this limit, nor anything queued behind it.

    An operator who turns it off through `eah.chunked_prefill` gets the room with it.
    """
    kind, (_, max_num_scheduled_tokens) = with_eah["few_tokens"]
    assert kind == "accepted"
    assert max_num_scheduled_tokens >= 512 + 8


def test_what_vllm_resolves_late_is_refused_by_the_worker(with_eah: Outcomes) -> None:
    """On Model Runner V1 and a GPU, `splitting_ops: []` turns the default CUDA graph mode into FULL after our hook."""
    assert with_eah["graphs_of_decode_steps"] == ["accepted", None]
    assert with_eah["graphs_of_prompts"][0] == "refused"
    assert "empty splitting_ops" in with_eah["graphs_of_prompts"][1]


def test_an_unknown_platform_is_refused(with_eah: Outcomes) -> None:
    assert with_eah["unknown_platform"][0] == "refused"
    assert "the model runner of platform UnspecifiedPlatform is not known" in with_eah["unknown_platform"][1]
