"""Plurals of English nouns that name things in pictures."""

from __future__ import annotations

import re

IRREGULAR = {
    "calf": "calves",
    "child": "children",
    "doberman": "dobermans",
    "goose": "geese",
    "knife": "knives",
    "mouse": "mice",
    "ox": "oxen",
    "pocketknife": "pocketknives",
}


def plurals(noun: str) -> tuple[str, ...]:
    """Return the spellings of a noun's plural in lower case: "buffalo" has "buffalos" and "buffaloes"."""
    if noun in IRREGULAR:
        return (IRREGULAR[noun],)
    if noun.endswith("man"):
        return (noun[:-3] + "men",)
    if noun.endswith("o"):
        return (noun + "s", noun + "es")
    if re.search(r"[^aeiou]y$", noun):
        return (noun[:-1] + "ies",)
    if noun.endswith("bus"):
        return (noun + "es", noun + "ses")
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return (noun + "es",)
    return (noun + "s",)
