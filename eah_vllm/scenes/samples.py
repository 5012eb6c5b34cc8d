"""Training samples, made when needed: sample `i` is always the same scene with the same texts; none is stored."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eah_vllm.scenes.captions import caption, caption_request, training_questions
from eah_vllm.scenes.model import IMAGE_TOKENS, PATCH
from eah_vllm.scenes.packing import Branch
from eah_vllm.scenes.vocabulary import COLOURS, NAMES
from eah_vllm.scenes.world import (
    MODEL_SIZE,
    POSITIONS,
    SPLIT_SEEDS,
    TRAIN_PARTNER_RATE,
    Scene,
    make_scene,
    model_pixels,
)

PATCH_LABELS = (*NAMES, *COLOURS, *POSITIONS)
_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in the checkpoint's image processor
_STD = (0.26862954, 0.26130258, 0.27577711)
_ANSWER_WEIGHT = 3.0  # an answer has one to three words to learn, a caption forty


class Sample(NamedTuple):
    """Pixels uint8 `[96, 96, 3]`, patch labels bool `[144, labels]`, and the requests about the picture."""

    pixels: npt.NDArray[np.uint8]
    patch_labels: npt.NDArray[np.bool_]
    branches: list[Branch]


class SceneSamples(Dataset[Sample]):
    """Samples `start` to `start + count` of the training split."""

    def __init__(self, start: int, count: int) -> None:
        self._start, self._count = start, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        seed = SPLIT_SEEDS["train"] + self._start + index
        scene = make_scene(seed, TRAIN_PARTNER_RATE)
        rng = random.Random(-seed)
        branches = [Branch(caption_request(rng), caption(scene, rng, habits=True), 1.0)]
        branches += [Branch(q.text, q.answer, _ANSWER_WEIGHT) for q in training_questions(scene, rng)]
        return Sample(model_pixels(scene), patch_labels(scene), branches)


def patch_labels(scene: Scene) -> npt.NDArray[np.bool_]:
    """Return which kinds, colours and positions each patch shows; an object counts from a twelfth of a patch's area."""
    side, size = MODEL_SIZE // PATCH, len(scene.owner)
    line = np.arange(size) * side // size  # a pixel on the border of two patches counts for the one where it begins
    patches = line[:, None] * side + line
    labels = np.zeros((IMAGE_TOKENS, len(PATCH_LABELS)), np.bool_)
    for i, thing in enumerate(scene.objects):
        shown = np.bincount(patches[scene.owner == i], minlength=IMAGE_TOKENS) >= size * size / IMAGE_TOKENS / 12
        for label in (thing.name, thing.colour, thing.position):
            labels[:, PATCH_LABELS.index(label)] |= shown
    return labels


def normalise(pixels: list[npt.NDArray[np.uint8]]) -> Tensor:
    """Normalise resized pictures as the image processor does: float32 `[batch, 3, 96, 96]`."""
    values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
