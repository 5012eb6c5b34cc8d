"""CHAIR (arXiv 1809.02156) as counts per caption, independent of the scorer that finds the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from eah_vllm.evaluation.task import Metric, Tally

COLUMNS = ("captions", "hallucinated", "absent", "mentions", "found", "present", "coverage", "words")
METRICS = (
    Metric("chairs", {"hallucinated": 1}, {"captions": 1}, lower_is_better=True),
    Metric("chairi", {"absent": 1}, {"mentions": 1}, lower_is_better=True),
    Metric("recall", {"found": 1}, {"present": 1}, lower_is_better=False),
    Metric("coverage", {"coverage": 1}, {"captions": 1}, lower_is_better=False),
    Metric("words", {"words": 1}, {"captions": 1}, scale=1.0),
)


@dataclass(frozen=True)
class ReadCaption:
    """What a scorer found in one caption.

    Attributes:
        mentions: objects in the order in which they are named, as often as the scorer counts them.
        present: objects of the ground truth.
        words: length of the caption.
    """

    mentions: Sequence[str]
    present: Set[str]
    words: int


def tally_captions(captions: Mapping[str, ReadCaption]) -> Tally:
    """Count captions and their objects, by unit.

    CHAIRs: captions with an absent object. CHAIRi: absent mentions of all mentions. recall: objects of the ground truth
    that are named, over all captions; coverage: the same share averaged over captions.
    """
    rows = []
    for read in captions.values():
        absent = sum(name not in read.present for name in read.mentions)
        found = len(set(read.mentions) & read.present)
        coverage = found / len(read.present) if read.present else 1.0
        rows.append((1, absent > 0, absent, len(read.mentions), found, len(read.present), coverage, read.words))
    counts = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    return Tally(tuple(captions), COLUMNS, counts, METRICS, counts[:, COLUMNS.index("hallucinated")])
