"""Lists of English words by their part in a sentence, as captions use them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of a text that has spaces between them."""
    return frozenset(text.split())
