"""The child process of `driver.Engine`: `vllm.LLM`, told over a socket what to do."""

from __future__ import annotations

import gc
import os
import zlib
from multiprocessing.connection import Client
from typing import Any

import numpy as np
import torch

from tests.engine.driver import Answer, Ask


class _Driver:
    llm: Any = None

    def start(self, model: str, options: dict[str, Any]) -> None:
        from vllm import LLM

        defaults: dict[str, Any] = {
            "dtype": "float32",
            "max_model_len": 512,
            "max_num_seqs": 8,
            "enforce_eager": True,
            "kv_cache_memory_bytes": 64 << 20,
            "block_size": 32,
            "max_logprobs": -1,
            "disable_log_stats": False,
            "limit_mm_per_prompt": {"image": 4},
        }
        if self.llm is not None:
            self.llm.llm_engine.engine_core.shutdown()
            self.llm = None
            gc.collect()
        self.llm = LLM(model, **(defaults | options))

    def generate(self, asks: list[Ask]) -> list[Answer]:
        prompts, params = [_prompt(ask) for ask in asks], [_params(ask) for ask in asks]
        loras = [_lora(ask) for ask in asks]
        outputs = self.llm.generate(prompts, params, lora_request=loras, use_tqdm=False)
        return [_answer(output) for output in outputs]

    def beam_search(self, ask: Ask, width: int) -> list[list[int]]:
        from vllm.sampling_params import BeamSearchParams

        params = BeamSearchParams(beam_width=width, max_tokens=ask.max_tokens, ignore_eos=True)
        (output,) = self.llm.beam_search([_prompt(ask)], params)
        return [beam.tokens for beam in output.sequences]

    def sleep(self) -> None:
        self.llm.sleep(level=1)

    def reset_prefix_cache(self) -> bool:
        return bool(self.llm.reset_prefix_cache())

    def wake_up(self) -> None:
        self.llm.wake_up()

    def collect(self, tags: list[str]) -> dict[str, Any]:
        parts: list[dict[str, Any]] = self.llm.collective_rpc("eah_collect", args=(tags,))
        return parts[0]

    def metric(self, name: str) -> float:
        return float(sum(metric.value for metric in self.llm.get_metrics() if metric.name == name))

    def abort_after(self, asks: list[Ask], steps: int, num_aborted: int) -> int:
        engine = self.llm.llm_engine
        for idx, ask in enumerate(asks):
            engine.add_request(f"abort-{idx}", _prompt(ask), _params(ask))
        finished = 0
        for step in range(1000):
            finished += sum(output.finished for output in engine.step())
            if step == steps:
                engine.abort_request([f"abort-{idx}" for idx in range(num_aborted)])
            if not engine.has_unfinished_requests():
                break
        return finished


def _prompt(ask: Ask) -> Any:
    if isinstance(ask.prompt, np.ndarray):
        return {"prompt_embeds": torch.from_numpy(ask.prompt)}
    if ask.videos:
        return {"prompt": ask.prompt, "multi_modal_data": {"image": ask.images, "video": ask.videos}}
    text = {"prompt_token_ids" if isinstance(ask.prompt, list) else "prompt": ask.prompt}
    if not len(ask.images):
        return text
    images = torch.from_numpy(ask.images) if isinstance(ask.images, np.ndarray) else ask.images
    named = {} if ask.uuids is None else {"multi_modal_uuids": {"image": ask.uuids}}
    return {**text, "multi_modal_data": {"image": images}, **named}


def _lora(ask: Ask) -> Any:
    from vllm.lora.request import LoRARequest

    if ask.lora is None:
        return None
    return LoRARequest(ask.lora.name, zlib.crc32(str(ask.lora).encode()) | 1, str(ask.lora))


def _answer(output: Any) -> Answer:
    def rows(logprobs: Any) -> list[dict[int, float]]:
        return [{token: entry.logprob for token, entry in row.items()} for row in logprobs or () if row is not None]

    logprobs = rows(output.outputs[0].logprobs)
    return Answer(
        tokens=[list(choice.token_ids) for choice in output.outputs],
        first_logprobs=logprobs[0],
        cached_tokens=output.num_cached_tokens or 0,
        prompt_token_ids=list(output.prompt_token_ids or ()),
        texts=[choice.text for choice in output.outputs],
        logprobs=logprobs,
        prompt_logprobs=rows(output.prompt_logprobs),
    )


def _params(ask: Ask) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    return SamplingParams(
        temperature=ask.temperature,
        seed=0,
        max_tokens=ask.max_tokens,
        ignore_eos=ask.structured is None,
        n=ask.n,
        logprobs=-1,
        prompt_logprobs=-1 if ask.prompt_logprobs else None,
        structured_outputs=None if ask.structured is None else StructuredOutputsParams(**ask.structured),
        extra_args=ask.extra_args(),
    )


def serve(address: str) -> None:
    driver = _Driver()
    with Client(address, authkey=os.environ["ENGINE_KEY"].encode()) as connection:
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:
                return
            try:
                connection.send(("value", getattr(driver, name)(*arguments)))
            except Exception as error:  # noqa: BLE001 - handed to the test, which decides what it means
                connection.send(("error", f"{type(error).__name__}: {error}"))
