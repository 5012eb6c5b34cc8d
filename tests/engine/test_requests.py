"""Requests that share an engine: neighbours, prefix cache, aborts, several choices, bad options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH, OTHER_EAH, mixed_asks
from tests.engine.driver import Answer, Ask, Engine, Spare


def assert_same(got: Answer, expected: Answer, tolerance: float = 1e-4) -> None:
    """Equal tokens; log-probabilities within what another batch shape may change in float32."""
    assert got.tokens == expected.tokens
    assert got.first_logprobs == pytest.approx(expected.first_logprobs, abs=tolerance)


def test_mixed_batch_equals_one_by_one(gqa_engine: Engine) -> None:
    asks = mixed_asks()
    alone = [gqa_engine.generate([ask])[0] for ask in asks]
    together = gqa_engine.generate(asks)
    for got, expected in zip(together, alone, strict=True):
        assert_same(got, expected)


def test_neighbours_of_eah_requests_are_untouched(gqa_engine: Engine) -> None:
    asks = [Ask(IMAGE_PROMPT, [random_image(seed)]) for seed in range(60, 66)]
    plain = gqa_engine.generate(asks)
    half = [Ask(ask.prompt, ask.images, EAH if idx % 2 else None) for idx, ask in enumerate(asks)]
    mixed = gqa_engine.generate(half)
    for idx, (got, expected) in enumerate(zip(mixed, plain, strict=True)):
        if idx % 2:
            assert got.first_logprobs != pytest.approx(expected.first_logprobs, abs=1e-2), "EAH had no effect here"
        else:
            assert_same(got, expected)


def test_text_only_prompt_says_why_not(gqa_engine: Engine) -> None:
    prompt = "USER: Is there a dog? ASSISTANT:"
    plain, asked = gqa_engine.one(prompt, []), gqa_engine.one(prompt, [], EAH | {"report": 1, "tag": "text"})
    assert asked.tokens == plain.tokens
    assert gqa_engine.collect("text")["reports"]["text"] == {"applied": False, "reason": "no_image", "layers": []}


def test_text_only_prompt_is_a_plain_request_for_the_prefix_cache(gqa_engine: Engine) -> None:
    """An alias that switches EAH on for a whole chat must not make its text-only turns slow."""
    prompt = f"USER: {' '.join(f'word{idx}' for idx in range(20))}? ASSISTANT:"
    first = gqa_engine.one(prompt, [], EAH | {"report": 1, "tag": "first"})
    plain = gqa_engine.one(prompt, [])
    again = gqa_engine.one(prompt, [], EAH | {"report": 1, "tag": "again"})
    assert (first.cached_tokens, plain.cached_tokens > 0) == (0, True)
    assert again.cached_tokens == plain.cached_tokens
    assert again.tokens == plain.tokens
    reports = gqa_engine.collect("first", "again")["reports"].values()
    assert [report["reason"] for report in reports] == ["no_image", "no_image"]


@pytest.mark.parametrize(
    ("eah", "named"),
    [
        ({"layer": 3}, "eah_layer: this model has layers 0..2, got 3"),
        ({"layer": -1}, "eah_layer"),
        ({"head": 8}, "eah_head: this model has heads 0..7, got 8"),
        ({"seed": 1}, "eah_seed: must stand beside head"),
        ({"seed": -1, "head": "random"}, "eah_seed"),
        ({"threshold": 0}, "eah_threshold"),
        ({"threshold": 0.1, "relative_threshold": 1.0}, "exclude each other"),
        ({"min_density": 2}, "eah_min_density"),
        ({"preset": "authors"}, "eah_preset"),
        ({"layr": 1}, "eah_layr: unknown option"),
        ({"preset": "released_code"}, "eah_layer: this model has layers 0..2, got 15"),
    ],
)
def test_bad_options_are_refused_at_admission(gqa_engine: Engine, eah: dict[str, Any], named: str) -> None:
    with pytest.raises(RuntimeError, match=f"VLLMValidationError.*{named}"):
        gqa_engine.one(IMAGE_PROMPT, [random_image(901)], eah)
    # Another image: vLLM's processor believes that the engine has the refused one.
    assert gqa_engine.one(IMAGE_PROMPT, [random_image(1)]).tokens[0], "the engine must live on"


def test_both_choices_of_n_2_get_eah(gqa_engine: Engine) -> None:
    images = [random_image(70)]
    one = gqa_engine.one(IMAGE_PROMPT, images, EAH)
    # Greedy sampling refuses n > 1; vLLM takes 0.01 for whatever is lower, and seeds make the draw repeatable.
    two = gqa_engine.one(IMAGE_PROMPT, images, EAH | {"report": 1, "tag": "two"}, n=2, temperature=1e-4)
    assert two.tokens == [one.tokens[0], one.tokens[0]]
    assert one.tokens != gqa_engine.one(IMAGE_PROMPT, images).tokens, "EAH had no effect here"
    assert gqa_engine.collect("two")["reports"]["two"]["applied"]


def test_aborted_and_finished_requests_leave_no_state(gqa_engine: Engine) -> None:
    asks = [Ask(IMAGE_PROMPT, [random_image(seed)], EAH, max_tokens=20) for seed in range(80, 86)]
    for steps in (0, 3):
        assert gqa_engine.abort_after(asks, steps, num_aborted=4) == 2
        gqa_engine.one("USER: Is there a dog? ASSISTANT:", [])  # a step in which the worker hears of the end
        assert gqa_engine.collect()["running"] == 0


def test_report_is_handed_out_once(gqa_engine: Engine) -> None:
    gqa_engine.one(IMAGE_PROMPT, [random_image(1)], EAH | {"report": 1, "tag": "once"})
    assert set(gqa_engine.collect("once")["reports"]) == {"once"}
    assert gqa_engine.collect("once")["reports"] == {}


def test_counts_follow_requests(gqa_engine: Engine) -> None:
    gqa_engine.collect()
    gqa_engine.one(IMAGE_PROMPT, [random_image(1)], EAH)
    gqa_engine.one(IMAGE_PROMPT, [random_image(1)], {"layer": 1, "threshold": 0.99})
    gqa_engine.one("USER: Is there a dog? ASSISTANT:", [], EAH)
    gqa_engine.one(IMAGE_PROMPT, [random_image(1)])
    collected = gqa_engine.collect()
    assert collected["outcomes"]["eah"] == {"applied": 1, "no_sink": 1, "no_image": 1}
    assert [(layer, count) for _, layer, _, count in collected["source_heads"]] == [(1, 1)]


@pytest.fixture(scope="module")
def fresh_engine(gqa_checkpoint: Path, spare: Spare) -> Engine:
    """Nobody else's blocks in its prefix cache."""
    return spare.serving(gqa_checkpoint)


def test_prefix_cache_isolates_every_setting(fresh_engine: Engine) -> None:
    prompt, images = IMAGE_PROMPT * 2, [random_image(90), random_image(91)]
    block = 32

    def ask(eah: dict[str, Any] | None) -> Answer:
        return fresh_engine.one(prompt, images, eah)

    on = ask(EAH)
    plain = ask(None)
    assert on.first_logprobs != pytest.approx(plain.first_logprobs, abs=1e-2), "EAH had no effect here"
    assert plain.cached_tokens == 0, "a plain request read blocks that an EAH request wrote"

    again = ask(None)
    assert again.cached_tokens >= block, "plain traffic must keep its prefix cache"
    assert_same(again, plain)

    warm = ask(EAH)
    assert warm.cached_tokens == 0, "EAH needs every prompt row"
    assert_same(warm, on)

    other = ask(OTHER_EAH)
    assert other.cached_tokens == 0
    assert other.first_logprobs != pytest.approx(on.first_logprobs, abs=1e-2), "the other setting had no effect here"
    assert_same(ask(None), plain)
