"""The references of VHR and CLVA are tested too: one that does nothing, or is wrong, would prove nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.reference import load_reference, reference_generate
from tests.rows_reference import RowsOutput, rows_generate

EAH = {"layer": 0, "relative_threshold": 1.5}
VHR = {"layers": [1, 2], "factor": 2.0}
CLVA_STRONG = {"early": [0], "middle": [1], "deep": [2], "alpha": 3.0, "beta": 2.0}
IMAGES = [random_image(31)]


@pytest.fixture(params=["mha", "gqa", "unusual"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_checkpoint")
    return path


def generate(path: Path, **methods: dict[str, Any]) -> RowsOutput:
    return rows_generate(path, IMAGE_PROMPT, IMAGES, methods, max_tokens=8)


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("eah", [None, EAH])
def test_without_them_it_is_the_reference_of_eah(checkpoint: Path, eah: dict[str, Any] | None) -> None:
    got = generate(checkpoint, **({} if eah is None else {"eah": eah}))
    expected = reference_generate(checkpoint, IMAGE_PROMPT, IMAGES, eah, max_tokens=8)
    assert got.tokens == expected.tokens
    assert_close(got.logprobs, expected.logprobs)
    assert got.report == expected.report


def test_strengths_of_nothing_change_nothing(checkpoint: Path) -> None:
    plain = generate(checkpoint)
    for nothing in ({"vhr": VHR | {"factor": 1.0}}, {"clva": CLVA_STRONG | {"alpha": 0.0, "beta": 0.0}}):
        assert_close(generate(checkpoint, **nothing).logprobs, plain.logprobs)


def test_every_layer_and_strength_has_an_effect_of_its_own(checkpoint: Path) -> None:
    """If two were alike, no engine test could tell them apart."""
    settings: list[dict[str, dict[str, Any]]] = [
        {},
        *({"vhr": VHR | {"layers": layers}} for layers in ([0], [1], [2], [0, 1], [1, 2])),
        {"vhr": VHR | {"factor": 3.0}},
        {"clva": CLVA_STRONG},
        {"clva": CLVA_STRONG | {"alpha": 1.0}},
        {"clva": CLVA_STRONG | {"beta": 0.0}},
        {"eah": EAH},
        {"eah": EAH, "vhr": VHR},
    ]
    assert_all_differ(checkpoint, settings)


def test_every_part_of_the_depth_has_an_effect_of_its_own(unusual_checkpoint: Path) -> None:
    parts: list[dict[str, list[int]]] = [
        {},
        {"middle": [2]},
        {"middle": [1, 2]},
        {"early": [1], "middle": [2]},
        {"deep": [4]},
        {"deep": [3, 4]},
    ]
    assert_all_differ(unusual_checkpoint, [{}, *({"clva": CLVA_STRONG | {"deep": [3]} | part} for part in parts)])


def assert_all_differ(path: Path, settings: list[dict[str, dict[str, Any]]]) -> None:
    found = [generate(path, **methods).first_token_logprobs for methods in settings]
    for number, row in enumerate(found):
        assert all(float((row - other).abs().max()) > 0.01 for other in found[:number]), settings[number]


def test_prompt_rows_before_the_last_stay_as_they_are(checkpoint: Path) -> None:
    plain = generate(checkpoint)
    for methods in ({"vhr": VHR}, {"clva": CLVA_STRONG}):
        got = generate(checkpoint, **methods)
        assert_close(got.prompt_logprobs[:-1], plain.prompt_logprobs[:-1])
        assert float((got.prompt_logprobs[-1] - plain.prompt_logprobs[-1]).abs().max()) > 0.01


def test_without_an_image_nothing_happens(mha_checkpoint: Path) -> None:
    prompt = "USER: Is there a dog? ASSISTANT:"
    plain = rows_generate(mha_checkpoint, prompt, [], {}, 4)
    for methods in ({"vhr": VHR}, {"clva": CLVA_STRONG}):
        got = rows_generate(mha_checkpoint, prompt, [], methods, 4)
        assert torch.equal(got.logprobs, plain.logprobs)
        assert got.vhr == got.clva == []


@contextmanager
def output_projections_multiplied(model: Any, factors: dict[int, torch.Tensor], rows: slice) -> Iterator[None]:
    """In these rows, what enters the output projection of some layers is multiplied by a factor per head."""

    def multiplied(factor: torch.Tensor) -> Any:
        def before(module: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            heads = inputs[0].unflatten(-1, (len(factor), -1)).clone()
            heads[:, rows] *= factor[:, None]
            return (heads.flatten(-2),)

        return before

    layers = model.model.language_model.layers
    hooks = [layers[idx].self_attn.o_proj.register_forward_pre_hook(multiplied(row)) for idx, row in factors.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def test_its_steps_equal_one_pass_over_prompt_and_answer(checkpoint: Path) -> None:
    """The chosen heads, fixed, in a model of Hugging Face with hooks, without cache: every later row is changed."""
    got = generate(checkpoint, vhr=VHR)
    model, processor = load_reference(str(checkpoint))
    for layer in model.model.language_model.layers:
        layer.self_attn.eah_request = None
    num_heads = model.config.text_config.num_attention_heads
    factors = {}
    for outcome in got.vhr:
        factors[outcome.layer] = torch.ones(num_heads)
        factors[outcome.layer][list(outcome.heads)] = 2.0
    pixels = processor.image_processor(IMAGES, return_tensors="pt")["pixel_values"]
    whole, length = torch.tensor([got.prompt_token_ids + got.tokens]), len(got.prompt_token_ids)
    for rows in (slice(length - 1, None), slice(length - 1, length)):
        with output_projections_multiplied(model, factors, rows), torch.inference_mode():
            logits = model(input_ids=whole, pixel_values=pixels).logits[0]
        logprobs = torch.log_softmax(logits, dim=-1)[length - 1 : -1]
        if rows.stop is None:
            assert_close(logprobs, got.logprobs)
        else:  # were the generated rows left alone, one would see it
            assert float((logprobs[1:] - got.logprobs[1:]).abs().max()) > 0.1


def test_given_heads_are_those_of_the_rule_or_others(mha_checkpoint: Path) -> None:
    by_rule = generate(mha_checkpoint, vhr=VHR)
    assert all(len(outcome.heads) == 4 for outcome in by_rule.vhr)
    same = {outcome.layer: outcome.heads for outcome in by_rule.vhr}
    assert torch.equal(generate(mha_checkpoint, vhr=VHR | {"heads": same}).logprobs, by_rule.logprobs)
    others = {layer: tuple(set(range(8)) - set(heads)) for layer, heads in same.items()}
    assert float((generate(mha_checkpoint, vhr=VHR | {"heads": others}).logprobs - by_rule.logprobs).abs().max()) > 0.1


def test_the_pictures_decide_and_have_outliers(checkpoint: Path) -> None:
    found = [
        outcome
        for seed in range(24)
        for outcome in rows_generate(
            checkpoint, IMAGE_PROMPT, [random_image(seed)], {"vhr": {"layers": [0, 1, 2]}}, 1
        ).vhr
    ]
    assert len({(outcome.layer, outcome.heads) for outcome in found}) > 12
    assert any(outcome.score != outcome.divergence for outcome in found)


def test_attention_on_the_image_keeps_its_sum_and_half_of_the_heads_is_turned(checkpoint: Path) -> None:
    got = generate(checkpoint, clva=CLVA_STRONG)
    (deep,) = (outcome for outcome in got.clva if outcome.part == "deep")
    assert deep.redirected is not None
    assert deep.norm is not None
    torch.testing.assert_close(deep.redirected.sum(dim=1), torch.tensor(deep.mass))
    assert sum(norm > 0 for norm in deep.norm) == len(deep.norm) // 2
