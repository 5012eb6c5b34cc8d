"""A `vllm.LLM` in this very process, asked with the cases of `tests/gpu_references.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

OPTIONS: dict[str, Any] = {
    "max_model_len": 512,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 2048,
    "kv_cache_memory_bytes": 64 << 20,
    "block_size": 32,
    "max_logprobs": -1,
    "limit_mm_per_prompt": {"image": 3},
    "gpu_memory_utilization": 0.1,  # several engines share the card; vLLM refuses to start where this much is not free
}


@dataclass(frozen=True, slots=True)
class Request:
    """One case, with its methods (`on`) or without."""

    case: dict[str, Any]
    on: bool
    tag: str = ""
    """Reports are made where this is not empty, under `TAG-METHOD`."""

    def expected(self) -> dict[str, Any]:
        """Return the reference's answer."""
        answer: dict[str, Any] = self.case["on" if self.on else "off"]
        return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine answered: tokens, and log-probabilities of every token at the first and the last position."""

    prompt_token_ids: list[int]
    tokens: list[int]
    logprobs: dict[int, float]
    last: dict[int, float]

    def difference(self, logprobs: Sequence[float]) -> float:
        """Return the largest difference from a reference's log-probabilities at the first position."""
        return _largest(self.logprobs, logprobs)

    def difference_at_last(self, logprobs: Sequence[float]) -> float:
        """Return the largest difference from a reference's log-probabilities at the last position."""
        return _largest(self.last, logprobs)


def _largest(found: Mapping[int, float], expected: Sequence[float]) -> float:
    # The stand-in for a GPU answers with tokens that no vocabulary has.
    known = dict(enumerate(expected))
    return max(abs(value - known.get(token, math.inf)) for token, value in found.items() if value > -math.inf)


class Engine:
    """One engine; requests that are asked together are in flight together."""

    def __init__(self, folder: Path, **options: Any) -> None:
        from vllm import LLM

        self.folder = folder
        self.llm = LLM(str(folder), **(OPTIONS | options))

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers, in the order of the requests."""
        prompts, params = [self._prompt(request) for request in requests], [_params(request) for request in requests]
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        answers = []
        for output in outputs:
            (choice,) = output.outputs
            first, last = ({token: entry.logprob for token, entry in choice.logprobs[at].items()} for at in (0, -1))
            answers.append(Answer(list(output.prompt_token_ids), list(choice.token_ids), first, last))
        return answers

    def reports(self, tags: Sequence[str]) -> list[dict[str, Any]]:
        """Return the reports under some tags."""
        (collected,) = self.llm.collective_rpc("eah_collect", args=(tags,))
        return [collected["reports"][tag] for tag in tags]

    def running(self) -> int:
        """Return how many requests the workers still hold after one more step."""
        self.llm.generate([{"prompt": "USER: Hello. ASSISTANT:"}], [_plain(1)], use_tqdm=False)
        (collected,) = self.llm.collective_rpc("eah_collect", args=([],))
        return int(collected["running"])

    def facts(self) -> dict[str, Any]:
        """Return runner and attention, whether it is FlashAttention 3, and what was compiled and captured."""
        from vllm.compilation.counter import compilation_counter

        vllm_config = self.llm.llm_engine.vllm_config
        config = vllm_config.compilation_config
        impls = [layer.impl for layer in config.static_forward_context.values() if hasattr(layer, "impl")]
        return {
            "runner": "V2" if vllm_config.use_v2_model_runner else "V1",
            "attention": sorted({type(impl).__name__ for impl in impls}),
            "flash_attention": sorted({str(getattr(impl, "vllm_flash_attn_version", "none")) for impl in impls}),
            "compilation_mode": str(config.mode),
            "cudagraph_mode": str(config.cudagraph_mode),
            "graphs_captured": compilation_counter.num_cudagraph_captured,
        }

    def _prompt(self, request: Request) -> Any:
        images = [Image.open(self.folder / "pictures" / file).convert("RGB") for file in request.case["pictures"]]
        return {"prompt": request.case["prompt"], "multi_modal_data": {"image": images}}


def _params(request: Request) -> Any:
    extra: dict[str, Any] = {}
    for method, options in request.case["methods"].items() if request.on else ():
        extra |= {method: 1} | {f"{method}_{name}": value for name, value in options.items()}
        if request.tag:
            extra |= {f"{method}_report": 1, f"{method}_tag": f"{request.tag}-{method}"}
    return _plain(len(request.expected()["tokens"]), extra or None)


def _plain(tokens: int, extra: dict[str, Any] | None = None) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        temperature=0, max_tokens=tokens, ignore_eos=True, logprobs=-1, detokenize=False, extra_args=extra
    )
