"""Every family: EAH off = stock vLLM, EAH on = the Hugging Face reference, and which tokens are image tokens."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from transformers import AutoTokenizer

from eah_vllm.models import MODELS
from tests.checkpoints import random_image
from tests.engine.compare import largest_difference, report_of
from tests.engine.driver import Answer, Ask, Engine
from tests.models.conftest import Served, Shared
from tests.models.family import HEADS
from tests.models.reference import Reference
from tests.reference import ReferenceOutput

ONE = "USER: {image}\nPlease describe this image in detail. ASSISTANT:"
FIRST = "{image}\nUSER: Please describe this image in detail. ASSISTANT:"
LAST = "USER: Please describe this image in detail. ASSISTANT: {image}"
TWO = "USER: {image}\nand {image}\nPlease describe this image in detail. ASSISTANT:"
NO_NEWLINE = "USER: {image} Please describe this image in detail. ASSISTANT:"
TOKENS, TOLERANCE, EFFECT = 8, 1e-3, 1e-2

# Name: form of the prompt, number of images, which of the family's two layers, other options.
CASES: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "relative threshold": (ONE, 1, 0, {"relative_threshold": 1.25}),
    "absolute threshold, another layer": (ONE, 1, 1, {"threshold": 0.02}),
    "fixed head": (ONE, 1, 1, {"relative_threshold": 1.25, "head": 6}),
    "two images": (TWO, 2, 1, {"relative_threshold": 1.25}),
    "image first": (FIRST, 1, 1, {"relative_threshold": 1.25}),
    "image last": (LAST, 1, 0, {"relative_threshold": 1.25}),
}


def pictures(seed: int, count: int) -> list[Image.Image]:
    """Wider than high, so that tiles and rows are not square."""
    return [random_image(seed + idx, 112).resize((112, 84), Image.Resampling.NEAREST) for idx in range(count)]


def case(served: Served, name: str) -> tuple[str, list[Image.Image], dict[str, Any], ReferenceOutput]:
    """Take the first pictures at which no head's column lies so near the threshold that rounding decides."""
    form, count, which, options = CASES[name]
    if count > served.family.max_images:
        pytest.skip("this family takes one picture")
    eah = {"layer": served.family.layers[which]} | options
    for seed in range(0, 200, 10):
        images = pictures(seed, count)
        expected = served.reference.generate(served.family.prompt(form), images, eah, TOKENS)
        if expected.report[0].margin > 2e-6 and expected.report[0].applied:
            return served.family.prompt(form), images, eah, expected
    raise AssertionError("no picture is good for a comparison")


def difference(one: ReferenceOutput, other: ReferenceOutput) -> float:
    return float((one.first_token_logprobs - other.first_token_logprobs).abs().max())


def assert_equal(got: Answer, expected: ReferenceOutput) -> None:
    assert got.prompt_token_ids == expected.prompt_token_ids
    assert largest_difference(got.first_logprobs, expected.first_token_logprobs) < TOLERANCE
    assert got.tokens[0] == expected.tokens


@pytest.mark.parametrize("name", list(CASES))
def test_on_equals_the_reference(served: Served, name: str) -> None:
    prompt, images, eah, expected = case(served, name)
    (found,) = expected.report
    assert found.head is not None
    off = served.reference.generate(prompt, images, None, TOKENS)
    another = served.reference.generate(prompt, images, eah | {"head": (found.head + 1) % HEADS}, 1)
    assert difference(expected, off) > EFFECT, "EAH changed nothing, so the case would prove nothing"
    assert difference(expected, another) > EFFECT, "any head would do, so the case would prove nothing"

    asks = [Ask(prompt, images, eah | {"report": 1, "tag": "on"}, TOKENS), Ask(prompt, images, None, TOKENS)]
    on = served.engine.generate(asks[:1])[0]
    report = report_of(served.engine, "on")
    assert_equal(on, expected)
    assert (report["applied"], report["reason"]) == (True, None)
    assert report["layers"] == [found.as_report() | {"density": pytest.approx(found.density)}]
    assert_equal(served.engine.generate(asks[1:])[0], off)


def inspected(engine: Engine, prompt: str, images: list[Image.Image], options: dict[str, Any]) -> dict[str, Any]:
    """What the inspector says; it must not change the answer beside which it runs."""
    asks = [Ask(prompt, images, options | {"report": 1, "tag": "look"}, 1, method="inspect"), Ask(prompt, images)]
    look, plain = engine.generate(asks)
    assert (look.tokens[0][0], look.first_logprobs) == (plain.tokens[0][0], plain.first_logprobs)
    return report_of(engine, "look")


def assert_inspected(engine: Engine, reference: Reference) -> None:
    """Every head of every layer, in one pass, as the reference reads one layer after the other."""
    family, relative = reference.family, 1.25
    prompt, images = family.prompt(ONE), pictures(60, 1)
    ways: list[dict[str, Any]] = [{"threshold": 0.02}, {"relative_threshold": relative}]
    layers = [layer for layer in range(max(family.layers) + 1) if layer not in family.refused]
    expected = {
        layer: [reference.generate(prompt, images, way | {"layer": layer}, 1).report[0] for way in ways]
        for layer in layers
    }
    assert all(found.margin > 1e-7 for both in expected.values() for found in both), "rounding would decide"
    assert len({found.sinks_per_head for both in expected.values() for found in both}) > len(layers)
    last = layers[-1]
    options = {"thresholds": [0.02], "relative_thresholds": [relative], "layer": last, "head": HEADS - 2}
    report = inspected(engine, prompt, images, options)
    assert (report["applied"], report["reason"]) == (True, None)
    found = {layer["layer"]: layer for layer in report["layers"]}
    for layer, both in expected.items():
        assert found[layer]["sinks"] == [list(one) for one in zip(*(way.sinks_per_head for way in both), strict=True)]
        assert found[layer]["source_head"] == [way.head for way in both]
        assert ("received" in found[layer]) == (layer == last)
    for layer, why in family.refused.items():
        assert why in found[layer]["reason"]
    received = expected[last][0].received[HEADS - 2].tolist()
    assert found[last]["received"] == pytest.approx(received, rel=1e-3, abs=1e-7)


def test_an_inspection_equals_the_reference(served: Served) -> None:
    assert_inspected(served.engine, served.reference)


def test_a_mixed_batch_equals_the_requests_alone(served: Served) -> None:
    prompt, images, eah, on = case(served, "two images" if served.family.max_images > 1 else "image first")
    one, image, other_eah, other_on = case(served, "relative threshold")
    off = served.reference.generate(one, image, None, TOKENS)
    batch = [
        Ask(prompt, images, eah, TOKENS),
        Ask(one, image, None, TOKENS),
        Ask(one, image, other_eah, TOKENS),
        Ask("USER: Is there a dog? ASSISTANT:", [], None, TOKENS),
    ]
    answers = served.engine.generate(batch)
    for got, expected in zip(answers, [on, off, other_on], strict=False):
        assert_equal(got, expected)
    assert answers[3].tokens == served.engine.generate(batch[3:])[0].tokens


def assert_refused(served: Served, layers: int | list[int], layer: int, why: str) -> None:
    """A request that names a layer which EAH cannot change is answered as without EAH, and says why."""
    prompt, images = served.family.prompt(ONE), pictures(0, 1)
    off = served.reference.generate(prompt, images, None, TOKENS)
    on = served.reference.generate(prompt, images, {"layer": layers, "relative_threshold": 1.25}, 1)
    assert difference(on, off) > EFFECT or "no attention" in why, "an engine that changed it would not be seen"
    assert_equal(served.engine.one(prompt, images, {"layer": layers, "report": 1, "tag": "no"}, max_tokens=TOKENS), off)
    report = report_of(served.engine, "no")
    assert (report["applied"], report["reason"], report["layers"]) == (False, "unsupported_attention", [])
    assert report["detail"].startswith(f"layer {layer}: ")
    assert why in report["detail"]


def test_layers_that_cannot_be_changed_say_why(served: Served) -> None:
    for layer, why in served.family.refused.items():
        assert_refused(served, layer, layer, why)
        assert_refused(served, [served.family.layers[0], layer], layer, why)


def test_families_without_a_layer_that_can_be_changed(refused: Served, stock: Shared) -> None:
    """Compared with stock vLLM: its attention for CPUs is causal also where the model's is not."""
    ask = Ask(refused.family.prompt(NO_NEWLINE), pictures(0, 1), None, TOKENS)
    expected = stock.serving(refused.family, refused.path).generate([ask])[0]
    for layer, why in refused.family.refused.items():
        eah = {"layer": layer, "report": 1, "tag": "no"}
        assert refused.engine.one(ask.prompt, ask.images, eah, max_tokens=TOKENS).tokens == expected.tokens
        assert report_of(refused.engine, "no") == {
            "applied": False,
            "reason": "unsupported_attention",
            "layers": [],
            "detail": f"layer {layer}: {why}",
        }
    found = inspected(refused.engine, ask.prompt, ask.images, {"thresholds": [0.02]})
    assert found["layers"] == [{"layer": layer, "reason": why} for layer, why in refused.family.refused.items()]
    got = refused.engine.generate([ask])[0]
    assert (got.tokens, got.first_logprobs) == (expected.tokens, expected.first_logprobs)
    assert MODELS[refused.family.architecture].verdict == "refused"


def test_which_tokens_count(served: Served) -> None:
    """Tiles, thumbnails and newline embeddings do; separators, breaks and line ends between them do not."""
    family = served.family
    tokenizer = AutoTokenizer.from_pretrained(served.path, trust_remote_code=family.remote_code)
    eah = {"layer": family.layers[0], "relative_threshold": 1.25, "report": 1, "tag": "count"}
    ids = served.engine.one(family.prompt(ONE), pictures(0, 1), eah, max_tokens=1).prompt_token_ids
    where = [idx for idx, token in enumerate(ids) if token == tokenizer.convert_tokens_to_ids(family.image_token)]
    inside = {tokenizer.decode([token]) for token in ids[where[0] : where[-1] + 1]} - {family.image_token}
    assert inside >= set(family.between)
    assert bool(inside) == bool(family.between)
    (layer,) = report_of(served.engine, "count")["layers"]
    assert layer["image_tokens"] == len(where) == family.image_tokens


def test_off_is_stock_vllm(served: Served, stock: Shared) -> None:
    forms = (ONE, TWO) if served.family.max_images > 1 else (ONE, FIRST)
    asks = [Ask(served.family.prompt(form), pictures(30, form.count("{image}")), None, TOKENS) for form in forms]
    engine = stock.serving(served.family, served.path)
    for ask in asks:
        (expected,), (got,) = engine.generate([ask]), served.engine.generate([ask])
        assert got.tokens == expected.tokens
        assert got.first_logprobs == expected.first_logprobs
    with pytest.raises(RuntimeError, match="eah_collect"):
        engine.collect()


def test_the_row_says_so(served: Served) -> None:
    row = MODELS[served.family.architecture]
    assert row.verdict == "tested here"
