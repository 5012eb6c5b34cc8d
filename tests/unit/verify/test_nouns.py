"""The extractor `nouns` is refused by name where spaCy or its model is missing, and finds noun phrases where not."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest
from eah_vllm_server.verify.nouns import MODEL, NounExtractor

INSTALLED = all(importlib.util.find_spec(package) for package in ("spacy", MODEL))


@pytest.mark.skipif(INSTALLED, reason="spaCy and its model are installed")
def test_without_its_library_it_is_refused_with_what_would_help() -> None:
    with pytest.raises(ValueError, match="`nouns` needs spaCy and its model en_core_web_sm") as refused:
        NounExtractor()
    assert "spacy download" in str(refused.value)


@pytest.mark.skipif(not INSTALLED, reason="spaCy or its model is not installed")
def test_it_finds_nouns_with_the_nouns_before_them() -> None:
    text = "There are two dogs near a red traffic light in the background, and no cat."
    mentions = asyncio.run(NounExtractor().find(text))
    assert [(m.text, m.object) for m in mentions] == [("dogs", "dog"), ("traffic light", "traffic light")]
    assert all(text[m.start : m.end] == m.text for m in mentions)
