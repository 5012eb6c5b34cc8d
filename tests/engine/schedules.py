"""A real vLLM scheduler under a trace of requests, in a process of its own; the model runner is played.

The configuration is built as an engine builds it, our config hook included where the plugin is loaded. What a step
would compute is not computed: every request that has its prompt gets a token.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.driver import ROOT

BLOCK_SIZE = 16
MAX_STEPS = 5000
CONFIG = (
    "enable_chunked_prefill", "long_prefill_token_threshold", "max_num_batched_tokens", "max_num_scheduled_tokens",
    "max_num_seqs", "max_num_encoder_input_tokens", "encoder_cache_size", "async_scheduling",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request of a trace."""

    name: str
    arrives: int
    """Step before which it is added."""
    prompt: int
    """Tokens."""
    pictures: Sequence[tuple[int, int, str]] = ()
    """Offset, length and contents of each."""
    answer: int = 4
    """Tokens."""
    kind: int = 0
    """Prompts of one kind begin alike."""
    extra_args: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One trace, and the engine that it is given to."""

    requests: Sequence[Wanted]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `EngineArgs`."""
    blocks: int = 1000
    """Of 16 tokens, of KV cache."""
    run_ahead: bool = False
    """Asynchronous scheduling, which vLLM turns off on CPUs."""
    held_embeddings: int = 0
    """Of the encoder's cache, by a request that does not run: a streaming session between two turns."""
    held_from: int = 0
    held_until: int = 0
    """Steps before which the session fills the cache, and ends."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What came of a case."""

    config: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    """What vLLM's `SchedulerOutput` says, where it decides what a step does."""
    extra_args: Mapping[str, Any]
    """Of each request, as the workers see them."""
    preemptions: int

    def first_step_of(self, name: str) -> int:
        return next(idx for idx, step in enumerate(self.steps) if name in step["tokens"])


def schedules(model: Path, cases: Sequence[Case], *, plugin: bool) -> list[Schedule]:
    """Run every case in one process."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.engine.schedules", str(model)],
        input=json.dumps([asdict(case) for case in cases]),
        env=os.environ | ({} if plugin else {"VLLM_PLUGINS": ""}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-6000:]
    return [Schedule(**schedule) for schedule in json.loads(run.stdout.splitlines()[-1])]


def _make_scheduler(model: str, options: Mapping[str, Any], blocks: int, run_ahead: bool) -> Any:
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    defaults = {"dtype": "float32", "max_model_len": 1024, "max_num_seqs": 8, "block_size": BLOCK_SIZE}
    arguments = EngineArgs(model=model, **(defaults | dict(options)))
    config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
    config.cache_config.num_gpu_blocks = blocks
    config.scheduler_config.async_scheduling = run_ahead
    spec = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=32, dtype=torch.float32)
    scheduler = config.scheduler_config.get_scheduler_cls()(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK_SIZE,
        log_stats=True,
    )
    return scheduler


def _make_request(wanted: dict[str, Any]) -> Any:
    from vllm import SamplingParams
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    init_none_hash(sha256)
    features = [
        MultiModalFeatureSpec(None, "image", contents, PlaceholderRange(offset, length), contents)
        for offset, length, contents in wanted["pictures"]
    ]
    params = SamplingParams(max_tokens=wanted["answer"], ignore_eos=True, extra_args=wanted["extra_args"])
    return Request(
        wanted["name"],
        [1000 * wanted["kind"] + idx % 997 for idx in range(wanted["prompt"])],
        params,
        None,
        arrival_time=float(wanted["arrives"]),
        mm_features=features,
        block_hasher=get_request_block_hasher(BLOCK_SIZE, sha256),
    )


def _outputs(scheduler: Any, step: Any) -> Any:
    """A token for every request whose known tokens are all computed after this step."""
    from vllm.v1.outputs import ModelRunnerOutput

    names = list(step.num_scheduled_tokens)
    computed = {new.req_id: new.num_computed_tokens for new in step.scheduled_new_reqs}
    cached = step.scheduled_cached_reqs
    computed |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
    tokens = [
        [7] if computed[name] + step.num_scheduled_tokens[name] >= _known(scheduler, name) else [] for name in names
    ]
    return ModelRunnerOutput(names, {name: idx for idx, name in enumerate(names)}, tokens)


def _known(scheduler: Any, name: str) -> int:
    """Tokens of a request when the step was made; one that runs ahead of its output is past its prompt anyway."""
    request = scheduler.requests.get(name)
    return 0 if request is None else int(request.num_prompt_tokens)


def _described(step: Any, scheduler: Any) -> dict[str, Any]:
    cached = step.scheduled_cached_reqs
    return {
        "tokens": dict(step.num_scheduled_tokens),
        "new": {new.req_id: [new.num_computed_tokens, [list(ids) for ids in new.block_ids]]
                for new in step.scheduled_new_reqs},
        "cached": [[name, computed, ids and [list(group) for group in ids]] for name, computed, ids in
                   zip(cached.req_ids, cached.num_computed_tokens, cached.new_block_ids, strict=True)],
        "resumed": sorted(cached.resumed_req_ids),
        "preempted": sorted(step.preempted_req_ids or ()),
        "encoder": {name: list(ids) for name, ids in step.scheduled_encoder_inputs.items()},
        "freed": list(step.free_encoder_mm_hashes),
        "finished": sorted(step.finished_req_ids),
        "running": [request.request_id for request in scheduler.running],
        "waiting": [request.request_id for request in scheduler.waiting],
    }  # fmt: skip


def _run(model: str, case: dict[str, Any]) -> dict[str, Any]:
    scheduler = _make_scheduler(model, case["options"], case["blocks"], case["run_ahead"])
    session = asdict(Wanted("session", 0, 1, [(0, case["held_embeddings"], "session")]))
    encoder_cache = scheduler.encoder_cache_manager
    arriving = deque(sorted(case["requests"], key=lambda wanted: wanted["arrives"]))
    steps: list[dict[str, Any]] = []
    extra_args: dict[str, Any] = {}
    under_way: deque[Any] = deque()
    while arriving or scheduler.has_requests():
        assert len(steps) < MAX_STEPS, "somebody waits for ever"
        while arriving and arriving[0]["arrives"] <= len(steps):
            scheduler.add_request(_make_request(arriving.popleft()))
        if case["held_embeddings"] and len(steps) == case["held_from"]:
            assert encoder_cache.can_allocate(_make_request(session), 0, case["held_embeddings"], 0)
            encoder_cache.allocate(_make_request(session), 0)
        if case["held_embeddings"] and len(steps) == case["held_until"]:
            encoder_cache.free(_make_request(session))
        step = scheduler.schedule()
        steps.append(_described(step, scheduler))
        extra_args |= {new.req_id: new.sampling_params.extra_args for new in step.scheduled_new_reqs}
        under_way.append(step)
        if len(under_way) > case["run_ahead"] or not step.num_scheduled_tokens:
            made = under_way.popleft()
            scheduler.update_from_output(made, _outputs(scheduler, made))
    facts = {name: getattr(scheduler.scheduler_config, name) for name in CONFIG}
    preemptions = sum(len(step["preempted"]) for step in steps)
    return {"config": facts, "steps": steps, "extra_args": extra_args, "preemptions": preemptions}


if __name__ == "__main__":
    results = [_run(sys.argv[1], case) for case in json.load(sys.stdin)]
    sys.stdout.write(f"{json.dumps(results, default=asdict)}\n")
