"""Image spans: where the image tokens of a prompt are."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eah_vllm.method.spans import ImageSpan, image_spans

Placeholder = tuple[int, int, list[bool] | None]


@st.composite
def placeholders_of_a_prompt(draw: st.DrawFn) -> list[Placeholder]:
    """Ranges that do not overlap, with any gap between them (none too), with and without a mask."""
    placeholders: list[Placeholder] = []
    offset = 0
    for _ in range(draw(st.integers(0, 4))):
        offset += draw(st.integers(0, 3))
        length = draw(st.integers(1, 8))
        is_embed = draw(st.none() | st.lists(st.booleans(), min_size=length, max_size=length))
        placeholders.append((offset, length, is_embed))
        offset += length
    return placeholders


def image_positions(placeholder: Placeholder) -> list[int]:
    offset, length, is_embed = placeholder
    return [offset + i for i in range(length) if is_embed is None or is_embed[i]]


@given(placeholders_of_a_prompt(), st.randoms(use_true_random=False))
def test_spans_cover_exactly_the_image_tokens_in_prompt_order(
    placeholders: list[Placeholder], shuffler: random.Random
) -> None:
    shuffled = list(placeholders)
    shuffler.shuffle(shuffled)
    spans = image_spans(shuffled)

    covered = [position for span in spans for position in range(span.start, span.stop)]
    assert covered == sorted(position for placeholder in placeholders for position in image_positions(placeholder))
    assert all(span.start < span.stop for span in spans), "an empty span is no span"


@given(placeholders_of_a_prompt())
def test_each_image_keeps_its_own_spans_and_runs_are_as_long_as_they_can_be(placeholders: list[Placeholder]) -> None:
    spans = image_spans(placeholders)
    # A span starts where the token before it is no image token of the same placeholder.
    starts = [p for ph in placeholders for p in image_positions(ph) if p - 1 not in image_positions(ph)]
    assert [span.start for span in spans] == starts


def test_llava_prompt_has_one_span() -> None:
    assert image_spans([(35, 576, None)]) == (ImageSpan(35, 611),)


def test_two_images_side_by_side_stay_two_spans() -> None:
    assert image_spans([(5, 4, None), (1, 4, None)]) == (ImageSpan(1, 5), ImageSpan(5, 9))


def test_separators_inside_a_placeholder_cut_it() -> None:
    rows_with_newlines = [True, True, False, True, True, False]
    assert image_spans([(10, 6, rows_with_newlines)]) == (ImageSpan(10, 12), ImageSpan(13, 15))


def test_image_at_the_very_start_and_at_the_very_end() -> None:
    assert image_spans([(0, 3, None), (7, 2, [False, True])]) == (ImageSpan(0, 3), ImageSpan(8, 9))


@pytest.mark.parametrize("placeholders", [[], [(4, 3, [False, False, False])]])
def test_no_image_token_no_span(placeholders: list[Placeholder]) -> None:
    assert image_spans(placeholders) == ()


def test_a_span_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageSpan(0, 1).stop = 2  # type: ignore[misc]
