"""Trains the built-in model from nothing: the vision tower on patch labels, then the whole model on answers.

It may be interrupted at any time; the same command goes on from the last saved step.
"""

from __future__ import annotations

import json
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
from eah_vllm.scenes.optimizers import Optimizers, Part
from eah_vllm.scenes.packing import Packer
from eah_vllm.scenes.samples import PATCH_LABELS, Sample, SceneSamples, normalise
from eah_vllm.scenes.tokenizer import build_tokenizer

_SCENES_OF_A_SEED = 1_000_000  # this is more than a run needs, so two seeds share no scene


@dataclass(frozen=True)
class Stage:
    """One phase of training; learning rates are Muon's, peaks of a warm-up and cosine schedule.

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
    vision: Stage = Stage("vision", steps=300, batch=32, vision_rate=2e-2)
    answers: Stage = Stage("answers", steps=800, batch=24, vision_rate=4e-3, language_rate=1.5e-2)
    seed: int = 0
    warmup: int = 20
    save_every: int = 50

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Phases of training, in order."""
        return self.vision, self.answers


SMOKE = Recipe(
    size=ModelSize(layers=2, heads=2, hidden=64, mlp=128, vision_layers=2, vision_hidden=64),
    vision=Stage("vision", steps=30, batch=16, vision_rate=2e-2),
    answers=Stage("answers", steps=50, batch=8, vision_rate=4e-3, language_rate=1.5e-2),
    warmup=5,
    save_every=10,
)


class Trainer:
    """The state of one training run, and where it is kept.

    Args:
        out: folder of the checkpoint; `training-state.pt` lies there until the run is finished.
        workers: number of processes that render scenes ahead; 0 renders in this process.
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
        self.cpu_seconds = 0.0  # of this process, without those that render

    def run(self, stop_after: int | None = None) -> bool:
        """Train to the end, or for `stop_after` more steps; return whether it is finished and its checkpoint saved."""
        self._out.mkdir(parents=True, exist_ok=True)
        saved = torch.load(self._state_file) if self._state_file.exists() else None
        if saved:
            self.model.load_state_dict(saved["model"])
            self._patch_head.load_state_dict(saved["patch_head"])
            self.losses, self.cpu_seconds = saved["losses"], saved["cpu_seconds"]
        left = stop_after
        for stage in self.recipe.stages:
            done = len(self.losses[stage.name])
            steps = stage.steps - done if left is None else min(left, stage.steps - done)
            if steps > 0:
                self._fit(stage, done, done + steps, saved["optimizers"] if saved and done else None)
            left = None if left is None else left - steps
        if any(len(self.losses[stage.name]) < stage.steps for stage in self.recipe.stages):
            return False
        self.model.eval()
        save_checkpoint(self.model, self._tokenizer, self._out)
        record = {"cpu_seconds": round(self.cpu_seconds), "threads": torch.get_num_threads(), "loss": self._curve()}
        (self._out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self._state_file.unlink(missing_ok=True)
        return True

    def _fit(self, stage: Stage, first: int, end: int, saved: list[dict[str, Any]] | None) -> None:
        loss_of = self._answer_loss if stage.language_rate else self._vision_loss
        optimizers = self._optimizers(stage)
        if saved:
            optimizers.load_state_dict(saved)
        bar = tqdm(range(first, end), desc=stage.name, initial=first, total=stage.steps, mininterval=5)
        started = time.process_time()
        for step, samples in zip(bar, self.batches(stage, first, end), strict=True):
            loss = loss_of(samples)
            optimizers.step(loss, step)
            self.losses[stage.name].append(loss.item())
            bar.set_postfix(
                loss=f"{sum(self.losses[stage.name][-50:]) / len(self.losses[stage.name][-50:]):.4f}", refresh=False
            )
            if (step + 1) % self.recipe.save_every == 0 or step + 1 == end:
                self.cpu_seconds += time.process_time() - started
                started = time.process_time()
                self._save(optimizers)

    def batches(self, stage: Stage, first: int, end: int) -> Iterator[list[Sample]]:
        """Yield the samples of steps `first` to `end`; every scene of a run is new, and other seeds have others."""
        earlier = self.recipe.stages[: self.recipe.stages.index(stage)]
        before = self.recipe.seed * _SCENES_OF_A_SEED + sum(s.steps * s.batch for s in earlier)
        samples = SceneSamples(before + first * stage.batch, (end - first) * stage.batch)
        return iter(DataLoader(samples, stage.batch, collate_fn=list, num_workers=self._workers))

    def _optimizers(self, stage: Stage) -> Optimizers:
        weights = list(self.model.named_parameters())
        parts = [Part([(n, p) for n, p in weights if "vision_tower" in n], stage.vision_rate)]
        if stage.language_rate:
            parts.append(Part([(n, p) for n, p in weights if "vision_tower" not in n], stage.language_rate))
        else:
            parts.append(Part(self._patch_head.named_parameters(), stage.vision_rate))
        return Optimizers(parts, stage.steps, self.recipe.warmup)

    def _vision_loss(self, samples: list[Sample]) -> Tensor:
        scores = self._patch_head(vision_features(self.model, normalise([s.pixels for s in samples])))
        labels = torch.stack([torch.from_numpy(s.patch_labels) for s in samples]).float()
        return 10 * F.binary_cross_entropy_with_logits(scores, labels, pos_weight=torch.tensor(4.0))

    def _answer_loss(self, samples: list[Sample]) -> Tensor:
        batch = self._packer.pack([s.branches for s in samples])
        return answer_loss(self.model, self._packer, normalise([s.pixels for s in samples]), batch)

    def _save(self, optimizers: Optimizers) -> None:
        state = {
            "model": self.model.state_dict(),
            "patch_head": self._patch_head.state_dict(),
            "optimizers": optimizers.state_dict(),
            "losses": self.losses,
            "cpu_seconds": self.cpu_seconds,
        }
        temporary = self._state_file.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._state_file)  # so the file never holds a half-written state

    def _curve(self) -> dict[str, list[float]]:
        return {
            k: [round(sum(v[i : i + 50]) / len(v[i : i + 50]), 4) for i in range(0, len(v), 50)]
            for k, v in self.losses.items()
        }
