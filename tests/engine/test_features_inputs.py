"""LoRA adapters, prompt embeddings, image embeddings and JSON schemas, all switched on in one engine, beside EAH."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import IMAGE_PROMPT, LONG_IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.compare import (
    assert_eah_matters,
    assert_equals_reference,
    assert_reports_reference,
    report_of,
)
from tests.engine.driver import Ask, Engine, Spare
from tests.lora import make_lora
from tests.reference import image_embeddings, prompt_embeddings, reference_generate

BLOCK = 32
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[a-z]{2,6}$"}, "age": {"enum": [1, 2, 3]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(gqa_checkpoint: Path, spare: Spare) -> Engine:
    options = {
        "enable_lora": True,
        "max_lora_rank": 8,
        # One more than adapters: on CPU vLLM 0.32 gives the last slot to neighbours that have no adapter.
        "max_loras": 2,
        "enable_prompt_embeds": True,
        "enable_mm_embeds": True,
        # The tiny model likes white space more than names.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    return spare.serving(gqa_checkpoint, **options)


@pytest.fixture(scope="module")
def lora(gqa_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An adapter, and the checkpoint that it makes of ours."""
    folder = tmp_path_factory.mktemp("lora")
    make_lora(gqa_checkpoint, folder / "adapter", folder / "merged")
    return folder / "adapter", folder / "merged"


def test_lora_with_and_without_eah_in_one_batch(gqa_checkpoint: Path, engine: Engine, lora: tuple[Path, Path]) -> None:
    adapter, merged = lora
    images = [random_image(300)]
    kinds = [(path, eah) for path in (None, adapter) for eah in (None, EAH)]
    expected = [
        reference_generate(merged if path else gqa_checkpoint, LONG_IMAGE_PROMPT, images, eah) for path, eah in kinds
    ]
    assert_eah_matters(expected[1], expected[0])
    assert_eah_matters(expected[3], expected[2])
    assert expected[1].tokens != expected[3].tokens, "the adapter had no effect here"

    asks = [
        Ask(LONG_IMAGE_PROMPT, images, eah and eah | {"report": 1, "tag": f"lora-{idx}"}, lora=path)
        for idx, (path, eah) in enumerate(kinds)
    ]
    pairs = list(zip(asks, expected, strict=True))
    # All in one batch, then each alone, when it meets the blocks that all of them wrote.
    for group in (pairs, *([pair] for pair in pairs)):
        answers = engine.generate([ask for ask, _ in group])
        for got, (ask, reference) in zip(answers, group, strict=True):
            assert_equals_reference(got, reference)
            if ask.eah is not None:
                assert_reports_reference(report_of(engine, ask.eah["tag"]), reference)
            assert (got.cached_tokens >= BLOCK) == (len(group) == 1 and ask.eah is None)


def test_image_embeddings_equal_pixels(gqa_checkpoint: Path, engine: Engine) -> None:
    for seeds in ([310], [311, 312]):
        images = [random_image(seed) for seed in seeds]
        prompt = "USER: " + "<image>\n" * len(images) + "Please describe this image in detail. ASSISTANT:"
        on, plain = (reference_generate(gqa_checkpoint, prompt, images, eah) for eah in (EAH, None))
        assert_eah_matters(on, plain)
        embeddings = image_embeddings(gqa_checkpoint, images)
        asks = [Ask(prompt, embeddings, eah and eah | {"report": 1, "tag": "embeds"}) for eah in (None, EAH)]
        for got, expected in zip(engine.generate(asks), (plain, on), strict=True):
            assert_equals_reference(got, expected)
        assert_reports_reference(report_of(engine, "embeds"), on)


def test_a_picture_of_one_token_says_that_the_released_code_finds_no_sink(gqa_checkpoint: Path, engine: Engine) -> None:
    """The released code leaves out each picture's first token, so that it has nothing to look at here."""
    one_row = image_embeddings(gqa_checkpoint, [random_image(6)])[:, :1]
    asked = {"preset": "released_code", "layer": 1, "report": 1, "tag": "one row"}
    changed, plain = engine.generate([Ask(IMAGE_PROMPT, one_row, asked), Ask(IMAGE_PROMPT, one_row)])
    assert changed.tokens == plain.tokens
    report = report_of(engine, "one row")
    assert (report["applied"], report["reason"]) == (False, "no_sink")
    assert report["layers"] == [{"layer": 1, "head": None, "sinks": 0, "image_tokens": 1, "density": 0.0}]


def test_prompt_embeddings_say_why_not_and_disturb_nobody(gqa_checkpoint: Path, engine: Engine) -> None:
    """Where the images of embedded prompts are, nobody can know: such a prompt is answered without EAH and says so."""
    images = [random_image(320)]
    on, plain = (reference_generate(gqa_checkpoint, IMAGE_PROMPT, images, eah) for eah in (EAH, None))
    assert_eah_matters(on, plain)
    embeddings = prompt_embeddings(gqa_checkpoint, IMAGE_PROMPT, images)
    asks = [
        Ask(embeddings, eah=EAH | {"report": 1, "tag": "prompt"}),
        Ask(IMAGE_PROMPT, images, EAH | {"report": 1, "tag": "beside"}),
        Ask(embeddings),
        Ask(IMAGE_PROMPT, images),
    ]
    for _ in range(2):
        for got, expected in zip(engine.generate(asks), (plain, on, plain, plain), strict=True):
            assert got.tokens[0] == expected.tokens
            assert got.first_logprobs == pytest.approx(dict(enumerate(expected.logprobs[0].tolist())), abs=1e-3)
        assert report_of(engine, "prompt") == {"applied": False, "reason": "no_image", "layers": []}
        assert_reports_reference(report_of(engine, "beside"), on)


def test_json_obeys_the_schema_and_eah_chooses(engine: Engine) -> None:
    images = [random_image(seed) for seed in range(330, 336)]
    texts = []
    for eah in (EAH, None):
        asks = [
            Ask(
                IMAGE_PROMPT,
                [image],
                eah and eah | {"report": 1, "tag": f"json-{idx}"},
                60,
                structured={"json": PERSON},
            )
            for idx, image in enumerate(images)
        ]
        texts.append([answer.texts[0] for answer in engine.generate(asks)])
        for person in map(json.loads, texts[-1]):
            assert person.keys() == {"name", "age"}
            assert person["name"].islower()
            assert person["age"] in (1, 2, 3)
    reports = engine.collect(*(f"json-{idx}" for idx in range(len(images))))["reports"]
    assert [report["applied"] for report in reports.values()] == [True] * len(images)
    assert texts[0] != texts[1], "EAH had no effect here"
    assert np.unique(texts[0]).size > 1
