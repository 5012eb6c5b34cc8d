"""Packs everything asked about one picture into one training row.

A row is `[branch] [branch] ...` and follows the prefix, the prompt up to the last image token, equally long for every
row; a branch is the rest of one prompt and its answer. Every branch attends to the picture and to itself only, and its
positions go on from the picture's, so each is exactly the sequence the model sees when it is asked that one thing; the
picture, most of the tokens, is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from eah_vllm.scenes.tokenizer import EOS_ID, IMAGE_ID, PAD_ID, image_prompt

IGNORE = -100  # cross-entropy leaves this label out


class Branch(NamedTuple):
    """One request, the answer to learn, and the weight of an answer token in the loss."""

    request: str
    answer: str
    weight: float


class PackedBatch(NamedTuple):
    """Rows padded to one length, without the prefix that they follow.

    Attributes:
        tokens, positions, labels: int64 `[rows, length]`; labels are already shifted.
        mask: bool `[rows, 1, length, prefix + length]`, true where a row's query may attend to a key.
        weights: float32 `[rows, length]`.
    """

    tokens: Tensor
    mask: Tensor
    positions: Tensor
    labels: Tensor
    weights: Tensor


class Packer:
    """Tokenizes requests and answers, each text once, and packs them into rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._end_weight = 0.2  # the end of a short answer is trivial
        before = tokenizer(image_prompt("")).input_ids
        self.image_start = before.index(IMAGE_ID)
        self.image_tokens = image_tokens
        self.prefix = before[: self.image_start] + [IMAGE_ID] * image_tokens
        self._ids: dict[str, list[int]] = {}

    def request_ids(self, request: str) -> list[int]:
        """Return the token ids that follow the image tokens in the prompt of a request."""
        if request not in self._ids:
            ids = self._tokenizer(image_prompt(request)).input_ids
            self._ids[request] = ids[ids.index(IMAGE_ID) + 1 :]
        return self._ids[request]

    def answer_ids(self, answer: str) -> list[int]:
        """Return the token ids of an answer as the model is to write it, including the end of text."""
        if answer not in self._ids:
            self._ids[answer] = [*self._tokenizer(" " + answer, add_special_tokens=False).input_ids, EOS_ID]
        return self._ids[answer]

    def pack(self, rows: Sequence[Sequence[Branch]]) -> PackedBatch:
        """Pack one row per picture, each with all its branches."""
        packed = [self._row(branches) for branches in rows]
        length = max(len(row[0]) for row in packed)
        fields = zip(*packed, strict=True)
        filled = [
            torch.tensor([values + [fill] * (length - len(values)) for values in field])
            for field, fill in zip(fields, (PAD_ID, 0, 0, IGNORE, 0.0), strict=True)
        ]
        tokens, segments, positions, labels, weights = filled
        own = (segments[:, None, :] == segments[:, :, None]) & torch.ones(length, length, dtype=torch.bool).tril()
        prefix = torch.ones(len(rows), length, len(self.prefix), dtype=torch.bool)
        return PackedBatch(tokens, torch.cat([prefix, own], 2)[:, None], positions, labels, weights)

    def _row(self, branches: Sequence[Branch]) -> tuple[list[int], list[int], list[int], list[int], list[float]]:
        start = len(self.prefix)
        tokens: list[int] = []
        segments: list[int] = []
        positions: list[int] = []
        labels: list[int] = []
        weights: list[float] = []
        for segment, branch in enumerate(branches, 1):
            request, answer = self.request_ids(branch.request), self.answer_ids(branch.answer)
            count = len(request) + len(answer)
            tokens += request + answer
            segments += [segment] * count
            positions += range(start, start + count)
            labels += [IGNORE] * (len(request) - 1) + answer + [IGNORE]
            end = branch.weight if len(answer) > 6 else self._end_weight
            weights += [0.0] * (len(request) - 1) + [branch.weight] * (len(answer) - 1) + [end, 0.0]
        return tokens, segments, positions, labels, weights
