"""The objects that the server asked about, with P(yes) and with the truth that the task's scorer knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eah_vllm.evaluation.task import Answer, Task

DENIED = "denied"


class Remover(Protocol):
    """The server's own way of taking objects out of a text, by its mentions as the reply has them."""

    def __call__(self, text: str, mentions: Sequence[Mapping[str, Any]], denied: Collection[str]) -> str:
        """Return the text without the denied objects."""
        ...


@dataclass(frozen=True)
class Checked:
    """One caption that was checked.

    Attributes:
        question: id of the question that it answers.
        unit: the picture.
        answer: the answer, with the text as it stands after the check.
        original: the text that was checked, into which the mentions point.
        mentions: all mentions as the reply has them, also those that were not asked about.
        denied: the objects that the model denied.
    """

    question: str
    unit: str
    answer: Answer
    original: str
    mentions: Sequence[Mapping[str, Any]]
    denied: frozenset[str]

    @property
    def objects(self) -> list[str]:
        """The objects that were asked about, each once, in the order of the text."""
        asked = (mention for mention in self.mentions if mention["p_yes"] is not None)
        return list(dict.fromkeys(str(mention["object"]) for mention in asked))

    def p_yes(self, name: str) -> float:
        """Return P(yes) of an object; it is asked about once, however often it is named."""
        return next(float(mention["p_yes"]) for mention in self.mentions if mention["object"] == name)


@dataclass(frozen=True)
class CheckedObject:
    """One object of one caption: what the model said of it, and whether the picture has it."""

    unit: str
    name: str
    p_yes: float
    there: bool


def checked_captions(task: Task, answers: Mapping[str, Answer]) -> list[Checked]:
    """Return the captions that were checked; those whose check failed are left out."""
    found = []
    for question in task.questions():
        answer = answers.get(question.id)
        if question.group != "caption" or answer is None or answer.verify is None or answer.verify.get("error"):
            continue
        mentions = answer.verify.get("mentions") or []
        denied = frozenset(str(one["object"]) for one in mentions if one["verdict"] == DENIED)
        original = answer.verify.get("original")
        text = answer.text if original is None else str(original)
        found.append(Checked(question.id, question.unit, answer, text, mentions, denied))
    return found


def judged_objects(task: Task, captions: Sequence[Checked]) -> list[CheckedObject]:
    """Return the objects whose truth the task's scorer knows: a word of theirs is one that it reads.

    An object that a caption names several times is one object, of its first mention that the scorer reads.
    """
    found: dict[tuple[str, str], CheckedObject] = {}
    for caption in captions:
        words = task.named_words(caption.unit, caption.original)
        for mention in caption.mentions:
            if mention["p_yes"] is None:
                continue
            truths = [there for start, end, there in words if start < mention["end"] and mention["start"] < end]
            key = caption.unit, str(mention["object"])
            if truths and key not in found:
                found[key] = CheckedObject(*key, float(mention["p_yes"]), truths[0])
    return list(found.values())
