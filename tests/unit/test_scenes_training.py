"""Packing, tokenizer, chat template and the resumable trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from eah_vllm.scenes.captions import CAPTION_REQUEST, presence_question
from eah_vllm.scenes.checkpoint import hub_name
from eah_vllm.scenes.model import IMAGE_TOKENS, answer_loss, build_model, vision_features
from eah_vllm.scenes.packing import IGNORE, Branch, Packer
from eah_vllm.scenes.samples import SceneSamples, normalise
from eah_vllm.scenes.tokenizer import BOS_ID, EOS_ID, IMAGE_ID, build_tokenizer, image_prompt
from eah_vllm.scenes.training import SMOKE, Trainer
from eah_vllm.scenes.world import make_scene, model_pixels

TINY = replace(
    SMOKE,
    vision=replace(SMOKE.vision, steps=3, batch=4),
    answers=replace(SMOKE.answers, steps=5, batch=3),
    save_every=1,
)


@pytest.fixture(scope="module")
def packer() -> Packer:
    return Packer(build_tokenizer(), IMAGE_TOKENS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint")
    assert Trainer(TINY, out, workers=0).run()
    return out


def test_packed_branches_do_not_see_each_other(packer: Packer) -> None:
    """The packed loss of each branch is its loss when it is the only thing asked."""
    torch.manual_seed(0)
    model = build_model(SMOKE.size, 512).eval()
    scene = make_scene(2)
    pixels = normalise([model_pixels(scene)])
    branches = [
        Branch(CAPTION_REQUEST, "The image shows a sea scene with a red boat on the left.", 1.0),
        Branch(presence_question("car", False).text, "No", 3.0),
        Branch("Where is the road sign?", "On the left", 3.0),
    ]
    with torch.no_grad():
        together = answer_loss(model, packer, pixels, packer.pack([branches])).item()
        parts, weights = 0.0, 0.0
        for branch in branches:
            batch = packer.pack([[branch]])
            weight = batch.weights[batch.labels != IGNORE].sum().item()
            parts += answer_loss(model, packer, pixels, batch).item() * weight
            weights += weight
    assert together == pytest.approx(parts / weights, rel=1e-5)


def test_a_packed_branch_is_the_prompt_as_served(packer: Packer) -> None:
    """Tokens and labels of a branch are those of the plain prompt and answer, picture tokens expanded."""
    tokenizer = build_tokenizer()
    batch = packer.pack([[Branch(CAPTION_REQUEST, "Yes", 1.0)]])
    plain = tokenizer(image_prompt(CAPTION_REQUEST)).input_ids
    at = plain.index(IMAGE_ID)
    expanded = plain[:at] + [IMAGE_ID] * IMAGE_TOKENS + plain[at + 1 :]
    served = packer.prefix + batch.tokens[0].tolist()
    assert served[: len(expanded)] == expanded
    learnt = batch.labels[0][batch.labels[0] != IGNORE].tolist()
    assert learnt == [*tokenizer(" Yes", add_special_tokens=False).input_ids, EOS_ID]
    before_answer = len(expanded) - len(packer.prefix) - 1
    assert batch.labels[0, before_answer] == learnt[0], "the last prompt token predicts the first answer token"
    assert batch.positions[0].tolist() == list(range(len(packer.prefix), len(served)))


def test_chat_prompts_are_the_training_prompts(checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(checkpoint)
    text, image = {"type": "text", "text": CAPTION_REQUEST}, {"type": "image"}
    for content in ([image, text], [text, image]):
        chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids = processor.tokenizer(chat, add_special_tokens=False).input_ids
        assert ids == processor.tokenizer(image_prompt(CAPTION_REQUEST)).input_ids
        assert ids.count(BOS_ID) == 1


def test_chat_template_takes_systems_turns_and_plain_strings(checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(checkpoint)
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the car?"}]},
        {"role": "assistant", "content": "On the left"},
        {"role": "user", "content": "What colour is the car?"},
    ]
    turns = [
        "<s>Be short. USER: <image>\nWhere is the car? ASSISTANT: On the left</s>",
        "USER: What colour is the car? ASSISTANT:",
    ]
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == "".join(turns)


def test_the_processor_gives_the_pixels_of_training(checkpoint: Path) -> None:
    scene = make_scene(3)
    served = AutoProcessor.from_pretrained(checkpoint).image_processor(scene.pil(), return_tensors="pt")["pixel_values"]
    one_level = 1 / 255 / 0.26  # bicubic of different libraries rounds differently
    assert (served - normalise([model_pixels(scene)])).abs().max() < 1.1 * one_level


def test_a_saved_checkpoint_is_the_trained_model(checkpoint: Path) -> None:
    loaded, info = LlavaForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.config.architectures == ["LlavaForConditionalGeneration"]
    assert not (checkpoint / "training-state.pt").exists()
    pixels = normalise([model_pixels(make_scene(3))])
    with torch.no_grad():
        hf = loaded.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        assert torch.allclose(vision_features(loaded, pixels), hf, atol=1e-5)


def test_weights_have_the_names_of_the_public_checkpoints() -> None:
    assert hub_name("model.vision_tower.pre_layrnorm.weight") == "vision_tower.vision_model.pre_layrnorm.weight"
    assert hub_name("model.language_model.norm.weight") == "language_model.model.norm.weight"
    assert hub_name("model.multi_modal_projector.linear_1.bias") == "multi_modal_projector.linear_1.bias"
    assert hub_name("lm_head.weight") == "language_model.lm_head.weight"


@pytest.mark.parametrize("stop", [2, 3, 5, 7])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path, checkpoint: Path, stop: int) -> None:
    assert not Trainer(TINY, tmp_path, workers=0).run(stop_after=stop)
    assert Trainer(TINY, tmp_path, workers=0).run()
    assert (tmp_path / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_seeds_learn_from_different_scenes(tmp_path: Path) -> None:
    pixels = []
    for seed in (0, 1):
        trainer = Trainer(replace(TINY, seed=seed), tmp_path, workers=0)
        pixels.append(next(trainer.batches(TINY.vision, 0, 1))[0].pixels)
    assert (pixels[0] != pixels[1]).any()


def test_every_training_scene_is_used_once() -> None:
    first = SceneSamples(0, 2)[1]
    again = SceneSamples(1, 1)[0]
    assert first.branches == again.branches
    assert (first.pixels == again.pixels).all()
