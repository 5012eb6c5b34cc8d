"""VHR and CLVA = their Hugging Face references, alone, beside EAH and plain requests, however they are scheduled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.checkpoints import GQA, IMAGE_TOKEN_ID, LONG_IMAGE_PROMPT, random_image
from tests.engine.compare import assert_equals_reference, largest_difference, report_of
from tests.engine.driver import Engine, Spare
from tests.engine.row_asks import (
    CLVA,
    EAH,
    ENABLED,
    VHR,
    Case,
    all_three,
    assert_batch_equals_references,
    assert_reports_equal,
    long_cases,
    mixed_cases,
    next_turn,
)
from tests.rows_reference import rows_generate

BLOCK = 32
TOKENS_PER_STEP = 24
Serve = Callable[..., Engine]


@pytest.fixture(scope="module")
def serve(spare: Spare) -> Serve:
    """Return the engine that a test asks for, with an empty prefix cache; it is started anew for other options."""
    served: dict[tuple[Path, str], Engine] = {}

    def of(path: Path, **options: Any) -> Engine:
        if (path, repr(options)) not in served:
            served.clear()
            served[path, repr(options)] = spare.serving(path, **ENABLED, **options)
        engine = served[path, repr(options)]
        engine.reset_prefix_cache()
        return engine

    return of


def test_a_mixed_batch_equals_the_references_gqa(serve: Serve, gqa_checkpoint: Path) -> None:
    assert_batch_equals_references(serve(gqa_checkpoint), gqa_checkpoint, mixed_cases())


@pytest.mark.parametrize("methods", [{"vhr": VHR}, {"clva": CLVA}, {"eah": EAH, "vhr": VHR}], ids="-".join)
def test_both_choices_of_n_2_equal_the_reference(
    serve: Serve, gqa_checkpoint: Path, methods: dict[str, dict[str, Any]]
) -> None:
    case = Case(methods)
    (both,) = serve(gqa_checkpoint).generate([case.ask(n=2, temperature=0.01)])
    expected = case.expected(gqa_checkpoint)
    assert both.tokens == [expected.tokens] * 2
    for row, expected_row in zip(both.logprobs, expected.logprobs, strict=True):
        assert largest_difference(row, expected_row) < 1e-3


def test_random_heads_are_those_of_the_report(serve: Serve, gqa_checkpoint: Path) -> None:
    engine = serve(gqa_checkpoint)
    case = Case({"vhr": VHR})
    drawn = []
    for seed in (0, 1):
        (answer,) = engine.generate([Case({"vhr": VHR | {"heads": "random", "seed": seed}}).ask("random")])
        layers = report_of(engine, "random-vhr")["layers"]
        heads = {layer["layer"]: tuple(layer["heads"]) for layer in layers}
        assert [len(chosen) for chosen in heads.values()] == [4, 4]
        assert_equals_reference(answer, Case({"vhr": VHR | {"heads": heads}}).reference(gqa_checkpoint))
        drawn.append(heads)
    assert drawn[0] != drawn[1]
    assert {outcome.layer: outcome.heads for outcome in case.expected(gqa_checkpoint).vhr} not in drawn


def test_a_random_direction_is_as_long(serve: Serve, gqa_checkpoint: Path) -> None:
    engine = serve(gqa_checkpoint)
    case = Case({"clva": CLVA})
    expected = case.expected(gqa_checkpoint)
    (answer,) = engine.generate([Case({"clva": CLVA | {"direction": "random"}}).ask("random")])
    for other in (expected, case.reference(gqa_checkpoint, plain=True)):
        assert largest_difference(answer.logprobs[0], other.logprobs[0]) > 1e-2
    assert_reports_equal(engine, "random", case, expected)


QUESTIONS = [
    f"{LONG_IMAGE_PROMPT.removesuffix(' ASSISTANT:')} {more} ASSISTANT:" for more in ("And a cup?", "Or a car?")
]


@pytest.mark.parametrize("methods", [{"vhr": VHR}, {"vhr": VHR | {"layers": [0]}}, {}], ids=["vhr", "layer 0", "plain"])
def test_another_question_reads_the_picture_of_equal_settings(
    serve: Serve, gqa_checkpoint: Path, methods: dict[str, dict[str, Any]]
) -> None:
    engine = serve(gqa_checkpoint)
    others: list[dict[str, dict[str, Any]]] = [{"vhr": VHR | {"factor": 3.0}}, {"clva": CLVA}, {"eah": EAH, "vhr": VHR}]
    for number, question in enumerate((*QUESTIONS, QUESTIONS[0])):
        case = Case(methods, question)
        (answer,) = engine.generate([case.ask("again")])
        expected = case.expected(gqa_checkpoint)
        assert_equals_reference(answer, expected)
        assert_reports_equal(engine, "again", case, expected, whole=number == 0)
        assert (answer.cached_tokens >= BLOCK) == (number > 0)
    for other in others:
        case = Case(other, QUESTIONS[1])
        (answer,) = engine.generate([case.ask()])
        assert_equals_reference(answer, case.expected(gqa_checkpoint))
        assert answer.cached_tokens == 0, f"{other} read what {methods} wrote"


@pytest.mark.parametrize("methods", [{"vhr": VHR}, {"clva": CLVA}, {"eah": EAH, "vhr": VHR}], ids="-".join)
@pytest.mark.parametrize("beyond_block", [0, 1, 9])
def test_the_next_turn_is_that_of_a_fresh_engine(
    serve: Serve, gqa_checkpoint: Path, methods: dict[str, dict[str, Any]], beyond_block: int
) -> None:
    """The first answer is a part of the second prompt, but its rows were changed when it was generated.

    So was the last row of the first prompt, which is the last of its block, the first of one, or amid one.
    """
    tokenizer = AutoTokenizer.from_pretrained(gqa_checkpoint)
    text = tokenizer(LONG_IMAGE_PROMPT).input_ids
    filler = tokenizer(" a small brown dog and a green cup", add_special_tokens=False).input_ids * 9
    place = text.index(IMAGE_TOKEN_ID) + 1
    missing = 2 * BLOCK + beyond_block - (len(text) - 1 + GQA.num_image_tokens)
    first = Case(methods, [*text[:place], *filler[: missing % BLOCK], *text[place:]], (random_image(41),), 40)
    engine = serve(gqa_checkpoint)
    (answer,) = engine.generate([first.ask()])
    assert len(answer.prompt_token_ids) % BLOCK == beyond_block
    assert_equals_reference(answer, first.expected(gqa_checkpoint))

    second = next_turn(gqa_checkpoint, first, answer.tokens[0], " USER: Is there a cup? ASSISTANT:")
    (again,) = engine.generate([second.ask("turn")])
    expected = second.expected(gqa_checkpoint)
    assert_equals_reference(again, expected)
    shared = (len(answer.prompt_token_ids) - 2) // BLOCK * BLOCK if methods == {"vhr": VHR} else 0
    assert_reports_equal(engine, "turn", second, expected, whole=shared == 0)
    assert again.cached_tokens == shared, "two prompt rows at least are left to compute"


def test_preempted_requests_equal_the_references(serve: Serve, gqa_checkpoint: Path) -> None:
    engine = serve(gqa_checkpoint, num_gpu_blocks_override=14, max_model_len=160)
    before = engine.metric("vllm:num_preemptions")
    assert_batch_equals_references(engine, gqa_checkpoint, long_cases())
    assert engine.metric("vllm:num_preemptions") > before, "nothing was preempted; the test proves nothing"


def test_a_prompt_in_pieces_equals_the_reference(serve: Serve, gqa_checkpoint: Path) -> None:
    """VHR may be split over steps; CLVA needs its whole prompt, which no step of this engine holds."""
    engine = serve(gqa_checkpoint, max_num_batched_tokens=TOKENS_PER_STEP, enable_prefix_caching=False)
    cases = [case for case in mixed_cases() if case.methods.keys() <= {"vhr"}]
    answers = assert_batch_equals_references(engine, gqa_checkpoint, cases, whole=False)
    assert min(len(answer.prompt_token_ids) for answer in answers[:2]) > TOKENS_PER_STEP
    (split,) = engine.generate([Case({"clva": CLVA}).ask("split")])
    assert_equals_reference(split, Case().reference(gqa_checkpoint))
    report = report_of(engine, "split-clva")
    assert (report["applied"], report["reason"]) == (False, "prompt_split")


def test_a_mixed_batch_equals_the_references_mha(serve: Serve, mha_checkpoint: Path) -> None:
    assert_batch_equals_references(serve(mha_checkpoint), mha_checkpoint, mixed_cases())


def test_three_methods_of_one_request_equal_the_reference(serve: Serve, unusual_checkpoint: Path) -> None:
    engine = serve(unusual_checkpoint)
    case = all_three()
    alone = [
        rows_generate(unusual_checkpoint, case.prompt, list(case.images), {name: options}, 1).first_token_logprobs
        for name, options in case.methods.items()
    ]
    together = case.expected(unusual_checkpoint).first_token_logprobs
    assert all(float((together - row).abs().max()) > 0.01 for row in alone), "one of them had no effect"
    assert_batch_equals_references(engine, unusual_checkpoint, [case, Case(), Case({"vhr": VHR})])
