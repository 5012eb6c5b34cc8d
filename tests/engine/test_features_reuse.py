"""`prefix_reuse` beside LoRA, image embeddings and conversations: only equal prefixes share a source head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import LONG_IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.compare import assert_eah_matters, assert_equals_reference, assert_reports_reference, report_of
from tests.engine.driver import Answer, Ask, Engine, Spare
from tests.lora import make_lora
from tests.reference import image_embeddings, reference_generate

BLOCK = 32


@pytest.fixture(scope="module")
def engine(gqa_checkpoint: Path, spare: Spare) -> Engine:
    options = {"enable_lora": True, "max_lora_rank": 8, "max_loras": 3, "enable_mm_embeds": True}
    return spare.serving(gqa_checkpoint, additional_config={"eah": {"prefix_reuse": True}}, **options)


def ask(engine: Engine, prompt: str, images: Any, lora: Path | None = None) -> tuple[Answer, dict[str, Any]]:
    """The answer and its report."""
    (answer,) = engine.generate([Ask(prompt, images, EAH | {"report": 1, "tag": "ask"}, lora=lora)])
    return answer, report_of(engine, "ask")


def test_adapters_of_one_name_choose_for_themselves(gqa_checkpoint: Path, engine: Engine, tmp_path: Path) -> None:
    """As when a server's adapter is replaced by a newer one."""
    images = [random_image(1000)]
    answers = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        make_lora(gqa_checkpoint, folder / "adapter", folder / "merged", seed)
        on, plain = (reference_generate(folder / "merged", LONG_IMAGE_PROMPT, images, eah) for eah in (EAH, None))
        assert_eah_matters(on, plain)
        for again in (False, True):
            answer, report = ask(engine, LONG_IMAGE_PROMPT, images, folder / "adapter")
            assert_equals_reference(answer, on)
            assert_reports_reference(report, on, reused=again)
            assert (answer.cached_tokens >= BLOCK) == again
        answers.append(on)
    assert answers[0].report[0].head != answers[1].report[0].head, "a shared head would not be seen"
    base, report = ask(engine, LONG_IMAGE_PROMPT, images)
    on = reference_generate(gqa_checkpoint, LONG_IMAGE_PROMPT, images, EAH)
    assert_equals_reference(base, on)
    assert_reports_reference(report, on)


def test_embeddings_and_pixels_of_an_image_keep_apart(gqa_checkpoint: Path, engine: Engine) -> None:
    images = [random_image(1001)]
    on, plain = (reference_generate(gqa_checkpoint, LONG_IMAGE_PROMPT, images, eah) for eah in (EAH, None))
    assert_eah_matters(on, plain)
    for given in (images, image_embeddings(gqa_checkpoint, images)):
        for again in (False, True):
            answer, report = ask(engine, LONG_IMAGE_PROMPT, given)
            assert_equals_reference(answer, on)
            assert_reports_reference(report, on, reused=again)


def test_the_next_turn_reads_the_turn_before(gqa_checkpoint: Path, engine: Engine) -> None:
    images = [random_image(1002)]
    first_turn = reference_generate(gqa_checkpoint, LONG_IMAGE_PROMPT, images, EAH)
    answer, report = ask(engine, LONG_IMAGE_PROMPT, images)
    assert_equals_reference(answer, first_turn)
    assert_reports_reference(report, first_turn)

    prompt = f"{LONG_IMAGE_PROMPT} Yes, there is an open book. USER: Please describe this image in detail. ASSISTANT:"
    head = first_turn.report[0].head
    on, plain = (reference_generate(gqa_checkpoint, prompt, images, eah) for eah in (EAH | {"head": head}, None))
    assert_eah_matters(on, plain)
    answer, report = ask(engine, prompt, images)
    assert_equals_reference(answer, on)
    assert answer.cached_tokens >= BLOCK
    assert_reports_reference(report, first_turn, reused=True)
