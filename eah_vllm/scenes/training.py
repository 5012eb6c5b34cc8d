"""Trains the built-in model from nothing: the vision tower on patch labels, then the whole model on answers, twice.

Interrupt it at any time; the same command goes on from the last saved step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration

from eah_vllm.scenes.checkpoint import save_checkpoint
from eah_vllm.scenes.model import IMAGE_TOKENS, ModelSize, answer_loss, build_model, vision_features
from eah_vllm.scenes.packing import Packer
from eah_vllm.scenes.samples import PATCH_LABELS, Sample, SceneSamples, normalise
from eah_vllm.scenes.tokenizer import build_tokenizer


@dataclass(frozen=True)
class Stage:
    """One phase of training; learning rates are peaks of a warm-up and cosine schedule.

    Without a language rate, the vision tower alone learns to label patches.
    """

    name: str
    steps: int
    batch: int
    vision_rate: float
    language_rate: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, apart from the number of threads (which only changes rounding)."""

    size: ModelSize = field(default_factory=ModelSize)
    vision: Stage = Stage("vision", steps=500, batch=64, vision_rate=1e-3)
    answers: Stage = Stage("answers", steps=900, batch=32, vision_rate=2.5e-4, language_rate=1.5e-3)
    refine: Stage = Stage("refine", steps=320, batch=32, vision_rate=1.5e-4, language_rate=8e-4)
    caption_noise: float = 0.38
    seed: int = 0
    warmup: int = 50
    save_every: int = 100

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In order."""
        return self.vision, self.answers, self.refine


SMOKE = Recipe(
    size=ModelSize(layers=2, heads=2, hidden=64, mlp=128, vision_layers=2, vision_hidden=64),
    vision=Stage("vision", steps=30, batch=16, vision_rate=3e-3),
    answers=Stage("answers", steps=40, batch=8, vision_rate=1e-3, language_rate=3e-3),
    refine=Stage("refine", steps=10, batch=8, vision_rate=3e-4, language_rate=1e-3),
    warmup=5,
    save_every=10,
)


class Trainer:
    """The state of one training run and where it is kept.

    Args:
        out: folder of the checkpoint; `training-state.pt` lies there until the run is finished.
        workers: processes that render scenes ahead; 0 renders in this one.
    """

    def __init__(self, recipe: Recipe, out: Path, workers: int = 1) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self._out, self._workers = recipe, out, workers
        self._state_file = out / "training-state.pt"
        self._tokenizer = build_tokenizer()
        self._packer = Packer(self._tokenizer, IMAGE_TOKENS)
        self.model: LlavaForConditionalGeneration = build_model(recipe.size, len(self._tokenizer))
        self._patch_head = nn.Linear(recipe.size.vision_hidden, len(PATCH_LABELS))
        self.losses: dict[str, list[float]] = {stage.name: [] for stage in recipe.stages}
        self.seconds = 0.0

    def run(self, stop_after: int | None = None) -> bool:
        """Trains to the end, or for `stop_after` more steps; true when finished and the checkpoint is written."""
        self._out.mkdir(parents=True, exist_ok=True)
        saved = torch.load(self._state_file) if self._state_file.exists() else None
        if saved:
            self.model.load_state_dict(saved["model"])
            self._patch_head.load_state_dict(saved["patch_head"])
            self.losses, self.seconds = saved["losses"], saved["seconds"]
        left = stop_after
        for stage in self.recipe.stages:
            done = len(self.losses[stage.name])
            steps = stage.steps - done if left is None else min(left, stage.steps - done)
            if steps > 0:
                self._fit(stage, done, done + steps, saved["optimizer"] if saved and done else None)
            left = None if left is None else left - steps
        if any(len(self.losses[stage.name]) < stage.steps for stage in self.recipe.stages):
            return False
        self.model.eval()
        save_checkpoint(self.model, self._tokenizer, self._out)
        record = {"seconds": round(self.seconds), "threads": torch.get_num_threads(), "loss": self._curve()}
        (self._out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self._state_file.unlink(missing_ok=True)
        return True

    def _fit(self, stage: Stage, first: int, end: int, saved: dict[str, Any] | None) -> None:
        loss_of = self._answer_loss if stage.language_rate else self._vision_loss
        optimizer = self._optimizer(stage)
        if saved:
            optimizer.load_state_dict(saved)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        bar = tqdm(range(first, end), desc=stage.name, initial=first, total=stage.steps, mininterval=5)
        started = time.monotonic()
        for step, samples in zip(bar, self._batches(stage, first, end), strict=True):
            factor = self._schedule(step, stage.steps)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(samples)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            self.losses[stage.name].append(loss.item())
            bar.set_postfix(
                loss=f"{sum(self.losses[stage.name][-50:]) / len(self.losses[stage.name][-50:]):.4f}", refresh=False
            )
            if (step + 1) % self.recipe.save_every == 0 or step + 1 == end:
                self.seconds += time.monotonic() - started
                started = time.monotonic()
                self._save(optimizer)

    def _batches(self, stage: Stage, first: int, end: int) -> Iterator[list[Sample]]:
        # Each stage goes on where the one before ended: every scene of a run is new.
        earlier = self.recipe.stages[: self.recipe.stages.index(stage)]
        before = sum(s.steps * s.batch for s in earlier)
        samples = SceneSamples(before + first * stage.batch, (end - first) * stage.batch, self.recipe.caption_noise)
        return iter(DataLoader(samples, stage.batch, collate_fn=list, num_workers=self._workers))

    def _optimizer(self, stage: Stage) -> torch.optim.Optimizer:
        vision = [p for n, p in self.model.named_parameters() if "vision_tower" in n]
        groups = [{"params": vision, "peak": stage.vision_rate}]
        if stage.language_rate:
            language = [p for n, p in self.model.named_parameters() if "vision_tower" not in n]
            groups.append({"params": language, "peak": stage.language_rate})
        else:
            groups.append({"params": list(self._patch_head.parameters()), "peak": stage.vision_rate})
        return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.03)

    def _schedule(self, step: int, steps: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        return min(1.0, (step + 1) / self.recipe.warmup) * (0.03 + 0.97 * cosine)

    def _vision_loss(self, samples: list[Sample]) -> Tensor:
        scores = self._patch_head(vision_features(self.model, normalise([s.pixels for s in samples])))
        labels = torch.stack([torch.from_numpy(s.patch_labels) for s in samples]).float()
        return 10 * F.binary_cross_entropy_with_logits(scores, labels, pos_weight=torch.tensor(4.0))

    def _answer_loss(self, samples: list[Sample]) -> Tensor:
        batch = self._packer.pack([s.branches for s in samples])
        return answer_loss(self.model, self._packer, normalise([s.pixels for s in samples]), batch)

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "model": self.model.state_dict(),
            "patch_head": self._patch_head.state_dict(),
            "optimizer": optimizer.state_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
        }
        temporary = self._state_file.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._state_file)  # never a half-written state

    def _curve(self) -> dict[str, list[float]]:
        return {
            k: [round(sum(v[i : i + 50]) / len(v[i : i + 50]), 4) for i in range(0, len(v), 50)]
            for k, v in self.losses.items()
        }
