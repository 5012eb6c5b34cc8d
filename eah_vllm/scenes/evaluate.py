"""Measures a model on unseen scenes through the real vLLM engine, with EAH off and on and with the controls.

A drop of CHAIR alone proves little: a model that says less also hallucinates less. So recall and length are given with
it, and the controls show what a random head, the head with fewest vision sinks, or simply ending sooner would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm import LLM, SamplingParams
from vllm.inputs import TextPrompt

from eah_vllm.scenes.benchmark import (
    Asked,
    build_questions,
    doubts,
    mended_and_spoiled,
    score_answers,
    score_captions,
    score_doubts,
)
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import EOS_ID, image_prompt
from eah_vllm.scenes.world import Scene

COLUMNS = (
    "CHAIRs", "CHAIRi", "recall", "words", "mended", "spoiled", "by habit", "denied", "colours", "positions",
    "yes/no", "random", "popular", "adversarial", "colour questions", "position questions",
)  # fmt: skip
_CAPTION_TOKENS = 80
_ANSWER_TOKENS = 6
_DRAWS = 5
"""Number of random heads that are drawn for each picture; one draw alone says little."""


@dataclass(frozen=True)
class Setting:
    """One row of the table: EAH options as vLLM `extra_args`, and a bias on the end-of-text token."""

    name: str
    extra_args: dict[str, Any] = field(default_factory=dict)
    end_bias: float = 0.0

    def sampling(self, max_tokens: int) -> SamplingParams:
        """Return the parameters of greedy decoding under this setting."""
        bias = {EOS_ID: self.end_bias} if self.end_bias else None
        return SamplingParams(temperature=0, max_tokens=max_tokens, logit_bias=bias, extra_args=self.extra_args or None)


OFF = Setting("off")


def eah_setting(
    layer: int | None, relative_threshold: float | None, head: str | None = None, seed: int | None = None
) -> Setting:
    """Return a setting of EAH, with the model's own defaults for whatever is None."""
    options = {"eah_layer": layer, "eah_relative_threshold": relative_threshold, "eah_head": head, "eah_seed": seed}
    given = {k: v for k, v in options.items() if v is not None}
    name = " ".join(["EAH", *(f"{k.removeprefix('eah_').replace('_', ' ')} {v}" for k, v in given.items())])
    return Setting(name, {"eah": 1, **given})


def control_settings(layer: int | None, relative_threshold: float | None) -> list[Setting]:
    """Return the controls that EAH must beat to mean anything: other choices of head, captions that end sooner."""
    heads = [eah_setting(layer, relative_threshold, "random", seed) for seed in range(_DRAWS)]
    heads.append(eah_setting(layer, relative_threshold, "sparsest"))
    return heads + [Setting(f"off, end of text {bias:+g}", end_bias=bias) for bias in (1.0, 3.0)]


def ask(llm: LLM, items: Sequence[tuple[Scene, str]], sampling: SamplingParams) -> list[str]:
    """Return greedy answers to (scene, request) pairs, in order; an empty list for no pairs."""
    if not items:
        return []
    prompts = [TextPrompt(prompt=image_prompt(text), multi_modal_data={"image": scene.pil()}) for scene, text in items]
    return [output.outputs[0].text.strip() for output in llm.generate(prompts, sampling)]


def _answers(llm: LLM, asked: Sequence[Asked], scenes: Sequence[Scene], setting: Setting) -> list[str]:
    return ask(llm, [(scenes[a.scene], a.question.text) for a in asked], setting.sampling(_ANSWER_TOKENS))


def evaluate(model: str, scenes: Sequence[Scene], settings: Sequence[Setting], seed: int = 0) -> list[dict[str, Any]]:
    """Return one row of scores and captions per setting; the others are compared with the first setting."""
    llm = LLM(
        model,
        max_model_len=512,
        dtype="float32",
        enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 1},
        kv_cache_memory_bytes=1 << 30,  # vLLM's default is most of the memory, and fails if another large process runs
    )
    asked = build_questions(scenes, seed)
    rows: list[dict[str, Any]] = []
    for setting in settings:
        captions = ask(llm, [(s, CAPTION_REQUEST) for s in scenes], setting.sampling(_CAPTION_TOKENS))
        doubted = doubts(captions, scenes)
        answers, denials = (_answers(llm, questions, scenes, setting) for questions in (asked, doubted))
        mended, spoiled = mended_and_spoiled(rows[0]["captions"], captions, scenes) if rows else (0, 0)
        scores = {
            **score_captions(captions, scenes),
            **score_answers(answers, asked),
            **score_doubts(denials, doubted),
            "mended": mended,
            "spoiled": spoiled,
        }
        rows.append({"setting": setting.name, **scores, "captions": captions})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the scores as a Markdown table; everything but words, mended and spoiled is in percent."""
    lines = ["| setting | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        cells = [f"{row[c]}" if isinstance(row[c], int) else f"{row[c]:.1f}" for c in COLUMNS]
        lines.append(f"| {row['setting']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
