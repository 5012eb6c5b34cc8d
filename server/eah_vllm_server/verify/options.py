"""The options of the field `verify`: what a caller may say, the server's and the checkpoint's defaults, what holds."""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_validator

from eah_vllm.options import CallerOptions, OptionError, parse_options, refuse_bool, shown
from eah_vllm_server.verify.words import read_objects

FIELD = "verify"
CHECKPOINT_FILE = "verify.json"
OBJECT = "{object}"
QUESTION = f"Is there a {OBJECT} in the image? Please answer yes or no."
LONGEST_QUESTION = 500
MOST_MENTIONS = 100
MOST_ANSWERS = 16
"""Most answers that `best_of` samples."""

Base = TypeVar("Base", bound="VerifyOptions")
Action = Literal["report", "rewrite", "best_of"]
ExtractorName = Literal["words", "model", "nouns"]
Word = Annotated[str, Field(min_length=1, max_length=40)]
Words = Annotated[list[Word], Field(min_length=1, max_length=16)]


class VerifyOptions(CallerOptions):
    """Options of a check."""

    BLAMED: ClassVar[str] = "action"

    action: Action | None = Field(
        None,
        description="report: say what was found; rewrite: take what is denied out of the answer; best_of: sample "
        "several answers and return the one of which least is denied",
    )
    threshold: Annotated[float | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=0, le=1, description="an object is denied where P(yes) is below this"
    )
    max_mentions: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=1, le=MOST_MENTIONS, description="most objects of an answer that are asked about"
    )
    question: str | None = Field(
        None, max_length=LONGEST_QUESTION, description=f"what is asked about an object; it holds {OBJECT} once"
    )
    objects: list[str] | dict[str, list[str]] | None = Field(
        None, description="objects to look for in the answer: names, or names with lists of their synonyms"
    )
    extractor: ExtractorName | None = Field(
        None, description="what finds the objects in the answer: a list of words, the served model, or noun phrases"
    )
    yes: Words | None = Field(None, description="words with which the model says yes")
    no: Words | None = Field(None, description="words with which the model says no")
    n: Annotated[int | None, BeforeValidator(refuse_bool)] = Field(
        None, ge=2, le=MOST_ANSWERS, description="answers that best_of samples"
    )
    rewrite: bool | None = Field(None, description="whether best_of takes what is denied out of the answer it chose")

    @field_validator("question")
    @classmethod
    def _has_one_place(cls, question: str | None) -> str | None:
        if question is not None and question.count(OBJECT) != 1:
            raise ValueError(f"must hold {OBJECT} exactly once")
        if question is not None and any(unicodedata.category(letter) == "Cc" for letter in question):
            raise ValueError("must hold no line break and no other control character")
        return question

    @field_validator("objects")
    @classmethod
    def _can_be_found(cls, objects: list[str] | dict[str, list[str]] | None) -> list[str] | dict[str, list[str]] | None:
        if objects is not None:
            try:
                read_objects(objects)
            except ValueError as error:  # whoever reports it names the field
                raise ValueError(str(error).removeprefix("objects").lstrip(": ")) from None
        return objects

    def over(self, base: Base) -> Base:
        """Return options of the kind of `base`: these, and those of `base` for whatever is not set here.

        Both are valid, so nothing is validated again: a server may have a list of thousands of objects.
        """
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if self.objects is not None and self.extractor is None:
            said["extractor"] = "words"  # whoever names objects wants those to be found
        return base.model_copy(update=said)


class VerifyDefaults(VerifyOptions):
    """What holds where nobody says anything."""

    action: Action = "report"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_mentions: Annotated[int, Field(ge=1, le=MOST_MENTIONS)] = 16
    question: str = QUESTION
    yes: Words = Field(default_factory=lambda: ["yes"])
    no: Words = Field(default_factory=lambda: ["no"])
    n: Annotated[int, Field(ge=2, le=MOST_ANSWERS)] = 4
    rewrite: bool = False

    @property
    def rewrites(self) -> bool:
        """Whether what is denied leaves the answer."""
        return self.action == "rewrite" or (self.action == "best_of" and self.rewrite)


def parse_verify(fields: Any, where: str = FIELD) -> VerifyOptions:
    """Validate an object of options; `where` is how the caller spells it.

    Raises:
        OptionError: an option is bad; the message names the first bad field, what is allowed, and what was sent.
    """
    if not isinstance(fields, Mapping):
        raise OptionError(where, f"must be true, false or an object of options, got {shown(fields)}")
    return parse_options(fields, f"{where}.", VerifyOptions)


def read_section(additional: Any) -> VerifyOptions:
    """Return the section `verify` of vLLM's `--additional-config`.

    Raises:
        ValueError: an option is bad; the message says where it stands.
    """
    section = additional.get(FIELD, {}) if isinstance(additional, dict) else {}
    return parse_verify(section, f"--additional-config {FIELD}")


def server_defaults(additional: Any, model_folder: str) -> VerifyDefaults:
    """Return the defaults of one server.

    Args:
        additional: vLLM's `--additional-config`, whose section `verify` holds the server's own.
        model_folder: where the checkpoint is; a file `verify.json` in this folder gives those not set by the server.

    Raises:
        ValueError: an option is bad; the message says where it stands.
    """
    said = read_section(additional)
    file = Path(model_folder, CHECKPOINT_FILE)
    if file.is_file():
        said = said.over(parse_verify(json.loads(file.read_text(encoding="utf-8")), str(file)))
    return said.over(VerifyDefaults())


def resolve(said: VerifyOptions, defaults: VerifyDefaults) -> VerifyDefaults:
    """Return the options that hold for one request.

    Raises:
        OptionError: two options contradict each other.
    """
    held = said.over(defaults)
    for name in ("n", "rewrite"):
        if getattr(said, name) is not None and held.action != "best_of":
            raise OptionError(f"{FIELD}.{name}", f'belongs to action "best_of", got action "{held.action}"')
    if held.extractor == "words" and held.objects is None:
        raise OptionError(f"{FIELD}.objects", "the extractor words needs a list of objects, and this server has none")
    both = {word.casefold() for word in held.yes} & {word.casefold() for word in held.no}
    if both:
        raise OptionError(f"{FIELD}.no", f"{shown(min(both))} stands under yes and under no")
    return held
