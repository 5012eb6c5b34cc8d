"""Chooses what finds the objects in an answer."""

import json
from functools import lru_cache
from typing import Any

from eah_vllm.options import OptionError
from eah_vllm_server.verify.mentions import AskModel, Extractor
from eah_vllm_server.verify.model_list import ModelExtractor
from eah_vllm_server.verify.nouns import NounExtractor
from eah_vllm_server.verify.options import VerifyDefaults
from eah_vllm_server.verify.words import WordExtractor, read_objects


def extractor_name(options: VerifyDefaults) -> str:
    """Return the extractor of these options: where none is named, `words` if there is a list of them, else `model`."""
    return options.extractor or ("model" if options.objects is None else "words")


def available_extractors() -> list[str]:
    """Return the extractors that this server has."""
    try:
        _nouns()
    except ValueError:
        return ["words", "model"]
    return ["words", "model", "nouns"]


def refuse_unavailable(options: VerifyDefaults) -> None:
    """Refuse an extractor that this server does not have.

    Raises:
        OptionError: the extractor is not available.
    """
    if extractor_name(options) == "nouns":
        try:
            _nouns()
        except ValueError as error:
            raise OptionError("verify.extractor", str(error)) from error


def extractor_of(options: VerifyDefaults, ask: AskModel) -> Extractor:
    """Return the extractor of these options; `ask` calls the served model."""
    name = extractor_name(options)
    if name == "model":
        return ModelExtractor(ask)
    return _nouns() if name == "nouns" else _words(json.dumps(options.objects))


@lru_cache(maxsize=16)
def _words(objects: str) -> WordExtractor:
    named: Any = json.loads(objects)
    return WordExtractor(read_objects(named))


@lru_cache(maxsize=1)
def _nouns() -> NounExtractor:
    return NounExtractor()
