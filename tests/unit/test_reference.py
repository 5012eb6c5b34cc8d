"""The oracles are tested too: a reference that does nothing, or is wrong, would make the engine tests prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from tests import naive
from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.reference import _Request, _select, reference_generate
from tests.unit.attention_cases import random_qkv

TWO_IMAGES_PROMPT = "USER: <image>\n<image>\nCompare these. ASSISTANT:"


@pytest.fixture(params=["mha", "gqa", "unusual", "tensor_parallel_2"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_checkpoint")
    return path


@pytest.mark.parametrize(
    ("prompt", "num_images"), [(IMAGE_PROMPT, 1), (TWO_IMAGES_PROMPT, 2), ("USER: Hello. ASSISTANT:", 0)]
)
def test_without_eah_it_is_hugging_face_generate(checkpoint: Path, prompt: str, num_images: int) -> None:
    images = [random_image(seed) for seed in range(num_images)]
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    inputs = AutoProcessor.from_pretrained(checkpoint)(text=prompt, images=images or None, return_tensors="pt")
    generated = model.eval().generate(
        **inputs, max_new_tokens=12, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    reference = reference_generate(checkpoint, prompt, images)

    assert reference.prompt_token_ids == inputs["input_ids"][0].tolist()
    assert reference.tokens == generated.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    expected = torch.log_softmax(generated.logits[0][0], dim=-1)
    torch.testing.assert_close(reference.first_token_logprobs, expected, atol=1e-4, rtol=0)


def test_token_ids_with_one_placeholder_are_the_same_prompt_as_text(checkpoint: Path) -> None:
    tokenizer = AutoProcessor.from_pretrained(checkpoint).tokenizer
    from_text = reference_generate(checkpoint, IMAGE_PROMPT, [random_image(0)], max_tokens=1)
    from_ids = reference_generate(checkpoint, tokenizer(IMAGE_PROMPT).input_ids, [random_image(0)], max_tokens=1)
    assert from_ids.prompt_token_ids == from_text.prompt_token_ids
    assert torch.equal(from_ids.first_token_logprobs, from_text.first_token_logprobs)


@pytest.mark.parametrize("layer", [0, 1, 2, [0, 1]])
def test_eah_changes_the_first_token_and_every_head_changes_it_otherwise(
    checkpoint: Path, layer: int | list[int]
) -> None:
    """If two source heads gave the same, no engine test could tell a wrong choice from a right one."""
    options = [None, *({"layer": layer, "head": head} for head in range(6))]
    results = [
        reference_generate(checkpoint, IMAGE_PROMPT, [random_image(0)], eah, max_tokens=1).first_token_logprobs
        for eah in options
    ]
    for i in range(len(results)):
        for j in range(i):
            assert float((results[i] - results[j]).abs().max()) > 0.1


def test_the_random_checkpoints_have_heads_with_different_sink_counts(checkpoint: Path) -> None:
    reference = reference_generate(
        checkpoint, IMAGE_PROMPT, [random_image(0)], {"layer": [0, 1, 2], "relative_threshold": 1.25}, max_tokens=1
    )
    assert [outcome.layer for outcome in reference.report] == [0, 1, 2]
    for outcome in reference.report:
        assert len(set(outcome.sinks_per_head)) > 2
        assert outcome.head == naive.densest_head(list(outcome.sinks_per_head))


def test_nothing_is_applied_without_a_sink_below_min_density_or_without_an_image(mha_checkpoint: Path) -> None:
    def first_token(prompt: str, eah: dict[str, float] | None) -> torch.Tensor:
        images = [random_image(0)] if "<image>" in prompt else []
        reference = reference_generate(mha_checkpoint, prompt, images, eah, max_tokens=1)
        assert all(outcome.head is None for outcome in reference.report)
        return reference.first_token_logprobs

    off = first_token(IMAGE_PROMPT, None)
    assert torch.equal(first_token(IMAGE_PROMPT, {"threshold": 0.9}), off)
    assert torch.equal(first_token(IMAGE_PROMPT, {"relative_threshold": 1.25, "min_density": 0.9}), off)
    assert torch.equal(first_token("USER: Hello.", {}), first_token("USER: Hello.", None))


RELEASED_CODE = _Request(
    layers=(15,),
    threshold=0.0008,
    head="auto",
    min_density=0.0,
    released_code=True,
    seed=0,
    pictures=None,
    image_columns=list(range(35, 611)),
    first_columns=[35],
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_tokens", [624, 648, 700])
def test_its_preset_released_code_is_the_released_code(num_tokens: int, seed: int) -> None:
    query, key, _ = random_qkv(seed, num_tokens, num_heads=6, num_kv_heads=6, head_dim=2)
    logits = torch.einsum("rhd,chd->hrc", query, key)
    maps = torch.softmax(logits.masked_fill(torch.ones(num_tokens, num_tokens).triu(1).bool(), -torch.inf), dim=-1)
    assert _select(maps, 15, RELEASED_CODE).head == naive.released_code_source_head(maps)


@pytest.mark.parametrize(
    ("sinks_of_heads", "source_head"),
    [
        ([{36}, {36, 37}, {40, 41}], 1),  # the first of equals
        ([{}, {610}], 1),  # the last image token counts
        ([{}, {35}], None),  # the first does not
        ([{}, {34, 611}], None),  # nor does text
        ([{36, 37}, {36}], None),  # head 0 wins, so nothing is changed
        ([{36}, {36}], None),
        ([{}, {}], None),
    ],
)
def test_its_quirks_of_the_released_code(sinks_of_heads: list[set[int]], source_head: int | None) -> None:
    maps = torch.zeros(len(sinks_of_heads), 648, 648)
    for head, columns in enumerate(sinks_of_heads):
        for column in columns:
            maps[head, column + 1 :, column] = 0.001
    assert naive.released_code_source_head(maps) == source_head
    assert _select(maps, 15, RELEASED_CODE).head == source_head


def test_its_statistics_are_the_naive_ones() -> None:
    query, key, _ = random_qkv(11, 14, num_heads=4, num_kv_heads=2, head_dim=4)
    maps = torch.zeros(4, 14, 14)
    for head in range(4):
        for r, row in enumerate(naive.attention_map(query, key, head, 0.5)):
            maps[head, r, : r + 1] = torch.tensor(row)
    columns = [0, 1, 2, 7, 8, 13]
    request = _Request((0,), 0.07, "auto", 0.0, False, 0, None, columns, [0])
    expected = naive.count_sinks(naive.mean_attention_received(query, key, columns, 0.5), 0.07)
    outcome = _select(maps, 0, request)
    assert len(set(expected)) > 1
    assert list(outcome.sinks_per_head) == expected
    assert outcome.density == max(expected) / 6
