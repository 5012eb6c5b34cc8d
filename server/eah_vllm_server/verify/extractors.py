"""Chooses what finds the objects in an answer."""

import json
from functools import lru_cache
from typing import Any

from eah_vllm.options import OptionError
from eah_vllm_server.verify.mentions import AskModel, Extractor
from eah_vllm_server.verify.options import VerifyDefaults
from eah_vllm_server.verify.words import WordExtractor, read_objects


def extractor_name(options: VerifyDefaults) -> str:
    """Return the extractor of these options: where none is named, `words` if there is a list of them, else `model`."""
    return options.extractor or ("model" if options.objects is None else "words")


def refuse_unavailable(options: VerifyDefaults) -> None:
    """Refuse an extractor that this server does not have.

    Raises:
        OptionError: the extractor is not available.
    """
    name = extractor_name(options)
    if name != "words":
        raise OptionError("verify.extractor", f"this server has no extractor {name}; send `objects`")


def extractor_of(options: VerifyDefaults, ask: AskModel) -> Extractor:
    """Return the extractor of these options; `ask` calls the served model."""
    return _words(json.dumps(options.objects))


@lru_cache(maxsize=16)
def _words(objects: str) -> WordExtractor:
    named: Any = json.loads(objects)
    return WordExtractor(read_objects(named))
