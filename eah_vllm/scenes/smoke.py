"""Tests the training code end to end in under two minutes: a tiny model is interrupted, resumed, saved and loaded."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import image_prompt
from eah_vllm.scenes.training import SMOKE, Recipe, Trainer
from eah_vllm.scenes.world import make_scene

_LOG = logging.getLogger(__name__)


class SmokeFailure(RuntimeError):
    """The training code failed; the message says what did not work."""


def smoke_test(out: Path | None = None, recipe: Recipe = SMOKE) -> None:
    """Train, interrupt, resume, save, load with transformers, and ask for one caption.

    Raises:
        SmokeFailure: resuming forgot steps, the loss did not fall, or the saved model is not the trained one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        interrupted_at = recipe.vision.steps + recipe.answers.steps // 2
        _need(not Trainer(recipe, folder).run(stop_after=interrupted_at), "training did not stop when told to")
        trainer = Trainer(recipe, folder)
        _need(trainer.run(), "training did not finish")
        for stage in recipe.stages:
            losses = trainer.losses[stage.name]
            _need(len(losses) == stage.steps, f"{stage.name}: {len(losses)} steps instead of {stage.steps}")
            tenth = max(1, stage.steps // 10)
            first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
            _LOG.info("%s: loss %.2f -> %.2f", stage.name, first, last)
            _need(last < 0.8 * first, f"{stage.name}: the loss did not fall")
        _check_loaded(trainer, folder)


def _check_loaded(trainer: Trainer, folder: Path) -> None:
    loaded = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(images=make_scene(1).pil(), text=image_prompt(CAPTION_REQUEST), return_tensors="pt")
    trained = trainer.model.eval()
    with torch.no_grad():
        difference = (loaded(**inputs).logits - trained(**inputs).logits).abs().max().item()
        tokens = loaded.generate(**inputs, max_new_tokens=20, do_sample=False)  # type: ignore[misc]
    _LOG.info("logits differ by %.1e after the round trip through fp16 safetensors", difference)
    _need(difference < 0.05, "the loaded model is not the trained one")
    caption = processor.decode(tokens[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    _LOG.info("caption: %s", caption)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise SmokeFailure(message)
