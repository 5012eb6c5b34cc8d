"""All hostile requests, in an order that mixes the kinds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.fuzz import (
    broken_cases,
    json_cases,
    length_cases,
    message_cases,
    name_cases,
    option_cases,
    part_cases,
    picture_cases,
    route_cases,
    sampling_cases,
    size_cases,
    structured_cases,
    transport_cases,
    url_cases,
    xargs_cases,
)
from tests.fuzz.case import Case, unique

LARGE = ("bomb", "body", "shape")
"""Categories whose requests are large, for the client too."""


def corpus(trap_port: int, silent_port: int) -> list[Case]:
    """The cases that are written down; the same ones every time.

    Args:
        trap_port: where a listener counts who follows an address that nobody should follow.
        silent_port: where another one takes connections and never answers.
    """
    modules = (
        picture_cases,
        broken_cases,
        size_cases,
        json_cases,
        message_cases,
        option_cases,
        xargs_cases,
        sampling_cases,
        route_cases,
        structured_cases,
        name_cases,
        transport_cases,
        length_cases,
    )
    written = [case for module in modules for case in module.cases()]
    return unique([*written, *url_cases.cases(trap_port), *part_cases.cases(trap_port, silent_port)])


def choose(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """`count` cases in random order, some of every category; where there are too few, mutated pictures fill up."""
    rng = random.Random(seed)
    by_category: dict[str, list[Case]] = {}
    for case in rng.sample(list(cases), len(cases)):
        by_category.setdefault(case.category, []).append(case)
    # A share of each category, the small ones not left out: the order is by rank within the category.
    ranked = [(idx / len(group), case) for group in by_category.values() for idx, case in enumerate(group)]
    chosen = [case for _, case in sorted(ranked, key=lambda pair: pair[0])[:count]]
    chosen += broken_cases.mutated(max(0, count - len(chosen)), seed)
    rng.shuffle(chosen)
    return chosen
