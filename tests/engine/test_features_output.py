"""What a request may ask for beside tokens: log-probabilities, a grammar, beams."""

from __future__ import annotations

import re
from pathlib import Path

from transformers import AutoTokenizer

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.compare import (
    assert_eah_matters,
    assert_equals_reference,
    assert_reports_reference,
    largest_difference,
    report_of,
)
from tests.engine.driver import Ask, Engine
from tests.reference import reference_generate


def test_logprobs_and_prompt_logprobs_equal_reference(gqa_checkpoint: Path, gqa_engine: Engine) -> None:
    images = [random_image(200)]
    on, plain = (reference_generate(gqa_checkpoint, IMAGE_PROMPT, images, eah) for eah in (EAH, None))
    assert_eah_matters(on, plain)
    changed_rows = (on.prompt_logprobs - plain.prompt_logprobs).abs().amax(dim=1) > 1e-2
    assert changed_rows[:-1].sum() > len(changed_rows) / 2, "EAH left the prompt's log-probabilities alone"

    # Beside a plain neighbour in the same step; the second time, plain blocks are in the prefix cache.
    for _ in range(2):
        asks = [Ask(IMAGE_PROMPT, images, eah, prompt_logprobs=True) for eah in (None, EAH)]
        for got, expected in zip(gqa_engine.generate(asks), (plain, on), strict=True):
            assert_equals_reference(got, expected)
            assert len(got.prompt_logprobs) == len(expected.prompt_token_ids) - 1
            for row, expected_row in zip(got.prompt_logprobs, expected.prompt_logprobs[:-1], strict=True):
                assert largest_difference(row, expected_row) < 1e-3


def test_regex_equals_reference_over_the_allowed_tokens(gqa_checkpoint: Path, gqa_engine: Engine) -> None:
    # No merge of the tiny tokenizer holds a digit, so this grammar allows exactly these ten tokens at each step.
    tokenizer = AutoTokenizer.from_pretrained(gqa_checkpoint)
    digits = [tokenizer.convert_tokens_to_ids(digit) for digit in "0123456789"]
    images = [random_image(202)]
    on, plain = (
        reference_generate(gqa_checkpoint, IMAGE_PROMPT, images, eah, max_tokens=8, allowed=digits)
        for eah in (EAH, None)
    )
    assert on.tokens != plain.tokens, "EAH had no effect here"
    got = gqa_engine.one(
        IMAGE_PROMPT, images, EAH | {"report": 1, "tag": "regex"}, max_tokens=20, structured={"regex": "[0-9]{8}"}
    )
    assert re.fullmatch("[0-9]{8}", got.texts[0])
    assert got.tokens[0][:8] == on.tokens
    assert_reports_reference(report_of(gqa_engine, "regex"), on)


def test_choice_obeys_the_grammar_and_eah_chooses(gqa_engine: Engine) -> None:
    words = ["apple", "bench", "cup", "dog", "egg", "fork", "grape", "house", "ink", "jar", "key", "lamp", "mug", "nut"]
    images = [random_image(seed) for seed in range(202, 208)]
    chosen = []
    for eah in (EAH, None):
        asks = [
            Ask(
                IMAGE_PROMPT, [image], eah and eah | {"report": 1, "tag": f"choice-{idx}"}, structured={"choice": words}
            )
            for idx, image in enumerate(images)
        ]
        chosen.append([answer.texts[0] for answer in gqa_engine.generate(asks)])
        assert set(chosen[-1]) <= set(words)
    reports = gqa_engine.collect(*(f"choice-{idx}" for idx in range(len(images))))["reports"]
    assert [report["applied"] for report in reports.values()] == [True] * len(images)
    assert chosen[0] != chosen[1], "EAH had no effect here"


def test_beam_search_is_plain_and_runs_beside_eah(gqa_checkpoint: Path, gqa_engine: Engine) -> None:
    """`LLM.beam_search` takes no `extra_args`: its answers are the plain ones, also where EAH has filled the cache."""
    images = [random_image(208)]
    on, plain = (reference_generate(gqa_checkpoint, IMAGE_PROMPT, images, eah, max_tokens=5) for eah in (EAH, None))
    assert on.tokens != plain.tokens, "EAH had no effect here"
    for _ in range(2):
        assert gqa_engine.one(IMAGE_PROMPT, images, EAH, max_tokens=5).tokens[0] == on.tokens
        assert gqa_engine.beam_search(Ask(IMAGE_PROMPT, images, max_tokens=5), 1)[0][-5:] == plain.tokens
    beams = gqa_engine.beam_search(Ask(IMAGE_PROMPT, images, max_tokens=5), 3)
    assert len({tuple(beam) for beam in beams}) == 3
