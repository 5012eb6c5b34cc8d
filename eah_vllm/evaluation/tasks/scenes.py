"""`eval scenes`: asks about the built-in world, offline: a caption and POPE's three kinds of questions per scene."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from eah_vllm.evaluation.count.chair_counts import ReadCaption, tally_captions
from eah_vllm.evaluation.count.yes_no import tally_yes_no
from eah_vllm.evaluation.task import Answer, Question, Tally, Task, TaskError
from eah_vllm.scenes.benchmark import MENTION, NEGATIVES, build_questions
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.world import SPLIT_SCENES, make_scene, split_scenes

CAPTION_TOKENS = 80
ANSWER_TOKENS = 6


class ScenesTask(Task):
    """Unseen scenes of the built-in world.

    Args:
        number: number of scenes.
        seed: which scenes: seed 0 starts at the first one of the split, seed 1 after the `number` scenes of seed 0.
        split: `test`, or `val` for choosing settings.
        captions_only: whether to leave out the yes/no questions.
    """

    name = "scenes"

    def __init__(self, number: int, seed: int = 0, split: str = "test", *, captions_only: bool = False) -> None:
        if number < 1 or seed < 0 or number * (seed + 1) > SPLIT_SCENES:
            raise TaskError(f"scenes: n * (seed + 1) must be 1 to {SPLIT_SCENES}, got n={number}, seed={seed}")
        self._split, self._number, self._seed = split, number, seed
        scenes = split_scenes(split, number, number * seed)
        self._present = {str(scene.seed): scene.names for scene in scenes}
        units = list(self._present)
        captions = [Question(f"{unit}/caption", unit, "caption", CAPTION_REQUEST, CAPTION_TOKENS) for unit in units]
        self._truth: dict[str, bool] = {}
        yes_no = []
        self._captions_only = captions_only
        for asked in () if captions_only else build_questions(scenes, seed):
            if asked.group not in NEGATIVES:
                continue
            id_ = f"{units[asked.scene]}/{asked.group}/{asked.question.answer.lower()}"
            self._truth[id_] = asked.question.answer.lower() == "yes"
            yes_no.append(Question(id_, units[asked.scene], asked.group, asked.question.text, ANSWER_TOKENS))
        by_unit = {unit: [caption] for unit, caption in zip(units, captions, strict=True)}
        for question in yes_no:
            by_unit[question.unit].append(question)
        self._questions = [question for questions in by_unit.values() for question in questions]

    def questions(self) -> Sequence[Question]:
        """Return the questions, scene after scene: a caption, then six yes/no questions."""
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the scene as a PNG file."""
        return _png(int(unit)), "image/png"

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Count `caption`, and, where they are asked, `yes_no` (all three kinds together) and each kind."""
        read = {}
        for unit, text in self.captions(answers).items():
            mentions = list(dict.fromkeys(match["name"] for match in MENTION.finditer(text)))
            read[unit] = ReadCaption(mentions, self._present[unit], len(text.split()))
        if self._captions_only:
            return {"caption": tally_captions(read)}
        said = [
            (q.group, (q.unit, self._truth[q.id], answers[q.id].text))
            for q in self._questions
            if q.group in NEGATIVES and q.id in answers
        ]
        kinds = {kind: tally_yes_no(one for group, one in said if group == kind) for kind in NEGATIVES}
        return {"caption": tally_captions(read), "yes_no": tally_yes_no(one for _, one in said), **kinds}

    def identity(self) -> Mapping[str, Any]:
        """Return split, number and seed; a run of captions alone can go on with the other questions."""
        return {"task": self.name, "split": self._split, "n": self._number, "seed": self._seed}

    def named_words(self, unit: str, caption: str) -> Sequence[tuple[int, int, bool]]:
        """Return the places of objects' names, and whether the scene has them."""
        return [(*match.span("name"), match["name"] in self._present[unit]) for match in MENTION.finditer(caption)]


@lru_cache(maxsize=64)
def _png(seed: int) -> bytes:
    buffer = io.BytesIO()
    make_scene(seed).pil().save(buffer, format="PNG")
    return buffer.getvalue()
