"""`eval chair`: captions of COCO val2014, scored for objects that are not in the picture (arXiv 1809.02156)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.count.chair_counts import ReadCaption, tally_captions
from eah_vllm.evaluation.task import Answer, Question, Tally, Task, TaskError
from eah_vllm.evaluation.tasks.chair_words import CaptionReader
from eah_vllm.evaluation.tasks.coco import check_image, coco_images, draw, objects_by_image
from eah_vllm.evaluation.tasks.word_list import Words, load_words

PROMPT = "Please describe this image in detail."
"""The prompt that OPERA, EAH's scripts and lmms-eval use."""
FINISHED = re.compile(r""".*[.!?]["'\u201d\u2019)\]]*(?=\s|$)""", re.DOTALL)
"""Pattern of a text up to the end of its last whole sentence."""


class ChairTask(Task):
    """Captions of pictures of COCO 2014.

    Args:
        images: folder with pictures named as COCO names them.
        annotations: folder with COCO's `instances_*2014.json` and `captions_*2014.json`.
        words: the words that name the categories.
        number: number of pictures to ask about.
        seed: seed that decides which ones.
        prompt: the text of the request.
        max_tokens: most tokens that a caption may have.
        lemmas: how words are reduced, see `CaptionReader`.
        drop_unfinished: whether to leave out the last sentence of a caption that `max_tokens` has cut.
    """

    name = "chair"

    def __init__(
        self,
        images: Path,
        annotations: Path,
        words: Words,
        *,
        number: int = 500,
        seed: int = 0,
        prompt: str = PROMPT,
        max_tokens: int = 512,
        lemmas: str = "plural",
        drop_unfinished: bool = False,
    ) -> None:
        if number < 1 or max_tokens < 1:
            raise TaskError(f"chair: n and max-tokens must be 1 or more, got {number} and {max_tokens}")
        self._images, self._drop_unfinished = images, drop_unfinished
        self._reader = CaptionReader(words, lemmas)
        names = coco_images(images)
        present = objects_by_image(annotations, names, self._reader)
        if len(present) < number:
            raise TaskError(
                f"chair: {number} pictures are wanted, and {len(present)} of the {len(names)} in {images} have "
                f"captions in {annotations}"
            )
        drawn = draw(present, number, seed)
        self._present = {names[id_]: present[id_] for id_ in drawn}
        for name in self._present:
            check_image(images / name)
        self._questions = [Question(f"{name}/caption", name, "caption", prompt, max_tokens) for name in self._present]
        self._identity = {
            "task": self.name,
            "n": number,
            "seed": seed,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "words": words.source,
            "lemmas": lemmas,
        }

    def questions(self) -> Sequence[Question]:
        """Return one request for a caption of each picture."""
        return self._questions

    def image(self, unit: str) -> tuple[bytes, str]:
        """Return the file as it is."""
        return (self._images / unit).read_bytes(), "image/jpeg"

    def tallies(self, answers: Mapping[str, Answer]) -> Mapping[str, Tally]:
        """Count the part `caption`; a category that a caption names twice counts twice, as in chair.py."""
        read = {}
        for unit, text in self.captions(answers).items():
            mentions = [mention.category for mention in self._reader.mentions(text)]
            read[unit] = ReadCaption(mentions, self._present[unit], len(text.split()))
        return {"caption": tally_captions(read)}

    def captions(self, answers: Mapping[str, Answer]) -> Mapping[str, str]:
        """Return captions as they are, or without an unfinished last sentence, which may leave a caption empty."""
        asked = {question.unit: answers[question.id] for question in self._questions if question.id in answers}
        return {unit: self._counted(answer) for unit, answer in asked.items()}

    def _counted(self, answer: Answer) -> str:
        if not self._drop_unfinished or answer.finish_reason != "length":
            return answer.text
        finished = FINISHED.match(answer.text)
        return finished[0] if finished else ""

    def protocol(self) -> Mapping[str, Any]:
        """Return what is no part of the identity, since a run's answers can be counted either way."""
        sentence = "dropped" if self._drop_unfinished else "counted"
        return {"max_tokens": self._identity["max_tokens"], "unfinished_sentence": sentence}

    def identity(self) -> Mapping[str, Any]:
        """Return which pictures (by number and seed) are asked about, with which prompt, and which words count."""
        return self._identity

    def named_words(self, unit: str, caption: str) -> Sequence[tuple[int, int, bool]]:
        """Return the places of words that name a category, and whether it is in the ground truth."""
        found = self._reader.mentions(caption)
        return [(mention.start, mention.end, mention.category in self._present[unit]) for mention in found]


def add_parser(tasks: Any) -> argparse.ArgumentParser:
    """Add the subcommand `chair`, with `make_task(args)` among its defaults.

    Args:
        tasks: what `ArgumentParser.add_subparsers` has returned.
    """
    parser: argparse.ArgumentParser = tasks.add_parser("chair", help="captions of COCO val2014, scored with CHAIR")
    parser.add_argument("--images", type=Path, required=True, help="folder of COCO_val2014_*.jpg")
    parser.add_argument(
        "--annotations", type=Path, required=True, help="folder of instances_val2014.json and captions_val2014.json"
    )
    parser.add_argument("--n", type=int, default=500, help="pictures (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="which pictures")
    parser.add_argument("--prompt", default=PROMPT, help=f"default: {PROMPT}")
    parser.add_argument("--max-tokens", type=int, default=512, help="tokens of a caption (default 512)")
    parser.add_argument(
        "--drop-unfinished",
        action="store_true",
        help="do not count the last sentence of a caption that --max-tokens has cut (default: it is counted)",
    )
    parser.add_argument("--words", type=Path, help="list of words (default: that of the installed lmms-eval)")
    parser.add_argument(
        "--lemmas",
        choices=["plural", "nltk"],
        default="plural",
        help="plural: nouns, offline; nltk: as OPERA's chair.py and lmms-eval, with NLTK's data",
    )
    parser.set_defaults(make_task=_make)
    return parser


def _make(args: argparse.Namespace) -> ChairTask:
    return ChairTask(
        args.images,
        args.annotations,
        load_words(args.words),
        number=args.n,
        seed=args.seed,
        prompt=args.prompt,
        max_tokens=args.max_tokens,
        lemmas=args.lemmas,
        drop_unfinished=args.drop_unfinished,
    )
